//! A server on loopback that answers what it is told to, and keeps what it was asked: a token
//! endpoint, a metadata server, a proxy.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use crate::manifest::Answer;

pub(crate) struct Fake {
    pub(crate) address: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Fake {
    /// Listens until the test ends.
    pub(crate) fn start(answers: Vec<Answer>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&asked);
        std::thread::spawn(move || {
            let mut counts = BTreeMap::new();
            for stream in listener.incoming().map_while(Result::ok) {
                // Whoever hangs up in the middle has asked nothing.
                let _ = answer(stream, &answers, &mut counts, &seen);
            }
        });
        Self { address, asked }
    }

    /// How many requests had all of these words.
    pub(crate) fn asked(&self, words: &[String]) -> usize {
        let asked = self.asked.lock().unwrap();
        let has_all = |request: &&String| words.iter().all(|word| request.contains(word.as_str()));
        asked.iter().filter(has_all).count()
    }

    pub(crate) fn requests(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

fn answer(
    stream: TcpStream,
    answers: &[Answer],
    counts: &mut BTreeMap<usize, usize>,
    asked: &Mutex<Vec<String>>,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut request = String::new();
    let mut length = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 || line == "\r\n" {
            break;
        }
        let lower = line.to_ascii_lowercase();
        if let Some(text) = lower.strip_prefix("content-length:") {
            length = text.trim().parse().unwrap_or(0);
        }
        request += &line;
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    request += &String::from_utf8_lossy(&body);
    let first = request.lines().next().unwrap_or_default().to_owned();
    asked.lock().unwrap().push(request);
    let found = answers.iter().position(|answer| first.contains(&answer.to));
    let (status, body) = match found {
        None => (503, String::new()),
        Some(index) => {
            let count = counts.entry(index).or_default();
            let statuses = &answers[index].statuses;
            let status = statuses[(*count).min(statuses.len() - 1)];
            *count += 1;
            let body = if status == 200 || statuses.len() == 1 { &answers[index].body } else { "" };
            (status, body.to_owned())
        }
    };
    let mut stream = stream;
    write!(
        stream,
        "HTTP/1.1 {status} Told\r\nContent-Type: application/json\r\nMetadata-Flavor: Google\r\n\
         Connection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}
