//! Asks the admin server of another process, for the subcommands `drain` and `probe`. Blocking and
//! small: a probe is started every few seconds.

use std::io::{self, Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::{Duration, Instant};

/// Bytes of a reply at most.
const REPLY_BYTES_MAX: u64 = 1 << 20;

/// The admin server was not to be asked.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// The URL is none that can be asked.
    #[error("expected a URL such as http://127.0.0.1:9700, found {0:?}")]
    Url(String),
    /// Nobody answers there.
    #[error("no worker answers at {url}: {reason}")]
    Unreachable {
        /// The URL.
        url: String,
        /// What is in the way.
        reason: io::Error,
    },
    /// What answers is no admin server.
    #[error("what answers at {0} is not HTTP")]
    NotHttp(String),
}

/// What was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// The body.
    pub body: String,
}

/// Asks `path` of the admin server at `url`.
///
/// # Errors
/// Nothing usable was answered within the limit.
pub fn ask(url: &str, method: &str, path: &str, limit: Duration) -> Result<Reply, AskError> {
    let wrong = || AskError::Url(url.to_owned());
    let host = url.strip_prefix("http://").ok_or_else(wrong)?.trim_end_matches('/');
    if host.is_empty() || host.contains(['/', '@', '?', '#']) {
        return Err(wrong());
    }
    let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    let address = if has_port { host.to_owned() } else { format!("{host}:80") };
    let unreachable = |reason| AskError::Unreachable { url: url.to_owned(), reason };
    let deadline = Instant::now() + limit;
    let reply = exchange(&address, host, method, path, deadline).map_err(unreachable)?;
    parse(&reply).ok_or_else(|| AskError::NotHttp(url.to_owned()))
}

fn exchange(
    address: &str,
    host: &str,
    method: &str,
    path: &str,
    deadline: Instant,
) -> io::Result<String> {
    let left = || match deadline.saturating_duration_since(Instant::now()) {
        Duration::ZERO => Err(io::Error::from(io::ErrorKind::TimedOut)),
        left => Ok(left),
    };
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for address in address.to_socket_addrs()? {
        let mut stream = match TcpStream::connect_timeout(&address, left()?) {
            Ok(stream) => stream,
            Err(error) => {
                last = error;
                continue;
            }
        };
        stream.set_write_timeout(Some(left()?))?;
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: \
             0\r\n\r\n"
        )?;
        stream.set_read_timeout(Some(left()?))?;
        let mut reply = String::new();
        stream.take(REPLY_BYTES_MAX).read_to_string(&mut reply)?;
        return Ok(reply);
    }
    Err(last)
}

/// Replies of the admin server are small and never chunked.
fn parse(reply: &str) -> Option<Reply> {
    let (head, body) = reply.split_once("\r\n\r\n")?;
    let status = head.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.parse().ok()?;
    Some(Reply { status, body: body.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_that_cannot_be_asked_are_refused_and_replies_are_read() {
        for url in ["https://localhost:9700", "localhost:9700", "http://", "http://a/b", ""] {
            let asked = ask(url, "GET", "/livez", Duration::from_secs(1));
            assert!(matches!(asked, Err(AskError::Url(_))), "{url}");
        }
        let reply = parse("HTTP/1.1 503 Service Unavailable\r\na: b\r\n\r\n{}").unwrap();
        assert_eq!((reply.status, &*reply.body), (503, "{}"));
        assert_eq!(parse("SSH-2.0-x\r\n\r\n"), None);
    }

    #[test]
    fn whoever_accepts_and_says_nothing_is_given_up_in_time() {
        let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", silent.local_addr().unwrap());
        let asked = ask(&url, "GET", "/livez", Duration::from_millis(100));
        assert!(matches!(asked, Err(AskError::Unreachable { .. })), "{asked:?}");
    }
}
