//! A credentials file that may change while the worker runs: a mounted secret is replaced under it.
//!
//! Its content is compared, not its times: a link that is turned to another file, a copy with an
//! old date and a file written twice within a second are all seen.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::io::AsyncReadExt as _;

use super::credentials::{self, Credentials};
use crate::shell::http::ClientError;
use crate::shell::lock::locked;

/// A larger file is none of credentials.
const BYTES_MAX: u64 = 1 << 20;
/// A file that is in use is looked at again after this time, once there is a call.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// Why a file cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum FileError {
    #[error("it does not exist")]
    Missing,
    #[error("it is larger than 1 MiB")]
    TooLarge,
    #[error("{0}")]
    Io(io::Error),
}

/// Reads a small file.
pub(super) async fn read_bounded(path: &Path) -> Result<Vec<u8>, FileError> {
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => FileError::Missing,
        _ => FileError::Io(error),
    };
    let file = tokio::fs::File::open(path).await.map_err(failed)?;
    let mut bytes = Vec::new();
    file.take(BYTES_MAX + 1).read_to_end(&mut bytes).await.map_err(failed)?;
    if bytes.len() as u64 > BYTES_MAX { Err(FileError::TooLarge) } else { Ok(bytes) }
}

/// The file and what it held when it was last usable.
pub(super) struct CredentialsFile {
    account: Arc<str>,
    path: PathBuf,
    only_key: bool,
    state: Mutex<State>,
}

struct State {
    credentials: Arc<Credentials>,
    /// Of the content that `credentials` were read from.
    hash: blake3::Hash,
    looked: Instant,
    /// Why the file was not usable when it was last looked at, once that is told.
    trouble: Option<String>,
}

impl CredentialsFile {
    pub(super) async fn open(
        account: &Arc<str>,
        path: PathBuf,
        only_key: bool,
    ) -> Result<Self, ClientError> {
        let bytes = read_bounded(&path).await.map_err(|error| ClientError::Read {
            what: "credentials file",
            path: path.clone(),
            source: match error {
                FileError::Io(error) => error,
                FileError::Missing => io::ErrorKind::NotFound.into(),
                FileError::TooLarge => io::Error::other(FileError::TooLarge),
            },
        })?;
        let credentials = credentials::read(&bytes, only_key)
            .map_err(|reason| ClientError::Credentials { path: path.clone(), reason })?;
        let state = State {
            credentials: Arc::new(credentials),
            hash: blake3::hash(&bytes),
            looked: Instant::now(),
            trouble: None,
        };
        Ok(Self { account: Arc::clone(account), path, only_key, state: Mutex::new(state) })
    }

    /// What the file held when it was last usable.
    pub(super) fn credentials(&self) -> Arc<Credentials> {
        Arc::clone(&locked(&self.state).credentials)
    }

    /// Whether it is time to look at the file again.
    pub(super) fn is_due(&self) -> bool {
        locked(&self.state).looked.elapsed() >= LOOK_EVERY
    }

    #[cfg(test)]
    pub(super) fn make_due(&self) {
        if let Some(past) = Instant::now().checked_sub(LOOK_EVERY) {
            locked(&self.state).looked = past;
        }
    }

    /// Looks at the file, and says whether it holds other credentials now. While it is missing or
    /// broken, those from before are kept.
    pub(super) async fn look(&self) -> bool {
        let found = match read_bounded(&self.path).await {
            Ok(bytes) => {
                let hash = blake3::hash(&bytes);
                if locked(&self.state).hash == hash {
                    Ok(None)
                } else {
                    credentials::read(&bytes, self.only_key).map(|read| Some((hash, read)))
                }
            }
            Err(error) => Err(error.to_string()),
        };
        let mut state = locked(&self.state);
        state.looked = Instant::now();
        let (account, file) = (&*self.account, self.path.display());
        match found {
            Ok(changed) => {
                let was_in_trouble = state.trouble.take().is_some();
                let Some((hash, read)) = changed else {
                    if was_in_trouble {
                        tracing::info!(account, %file, "the credentials file is as it was again");
                    }
                    return false;
                };
                (state.hash, state.credentials) = (hash, Arc::new(read));
                tracing::info!(
                    account,
                    %file,
                    "the credentials file of the account has changed; what it holds now is used"
                );
                true
            }
            Err(reason) => {
                if state.trouble.as_ref() != Some(&reason) {
                    tracing::warn!(
                        account,
                        %file,
                        reason,
                        "the credentials file cannot be used as it is now; what it held before is \
                         used until it can: put the file right, no restart is needed"
                    );
                    state.trouble = Some(reason);
                }
                false
            }
        }
    }
}
