//! At the start each account's way to the API is tried: a token is fetched and a connection made.
//! No call of the API is made for that, so it costs no quota. A worker without work would notice a
//! wrong key, name, certificate or clock only with its first order.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use super::Stats;
use super::http::ResellerClient;

/// Between two attempts, at first and at most.
const WAIT: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(60));

/// Tries until each account has got through, by this or by a call of its own. Ends when dropped.
pub(super) fn try_all(clients: &[Arc<ResellerClient>], stats: &Arc<Stats>) -> JoinSet<()> {
    let attempts = clients.iter().map(|client| attempt(Arc::clone(client), Arc::clone(stats)));
    attempts.collect()
}

async fn attempt(client: Arc<ResellerClient>, stats: Arc<Stats>) {
    let mut wait = WAIT.0;
    while !stats.board.is_proven(client.account()) {
        let result = client.reach().await;
        stats.board.api_reached(client.account(), result.as_ref().err());
        if result.is_ok() {
            return;
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(WAIT.1);
    }
}
