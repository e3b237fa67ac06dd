//! A hub for tests: it answers as the real one does, with commit and etag in headers, ranges, and a redirect to another
//! address where a file is large.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// Files of this size and more lie behind a redirect (bytes).
const LARGE: usize = 1024;

/// A server that ends with the process.
pub(crate) struct HubServer {
    /// Its address, for `HF_ENDPOINT`.
    pub(crate) endpoint: String,
    files: Arc<Mutex<BTreeMap<String, Vec<u8>>>>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl HubServer {
    /// Serves the commit `revision` of any repository.
    pub(crate) fn start(revision: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let (files, asked) = (Arc::default(), Arc::default());
        let server = Self { endpoint: endpoint.clone(), files: Arc::clone(&files), asked: Arc::clone(&asked) };
        let revision = revision.to_owned();
        thread::spawn(move || {
            for stream in listener.incoming() {
                // A client that went away is not this thread's affair.
                let Ok(stream) = stream else { continue };
                let _ = answer(stream, &endpoint, &revision, &files, &asked);
            }
        });
        server
    }

    /// Gives a file new content.
    pub(crate) fn put(&self, name: &str, bytes: &[u8]) {
        self.files.lock().unwrap().insert(name.to_owned(), bytes.to_vec());
    }

    /// Paths that were asked for since the last call.
    pub(crate) fn asked(&self) -> Vec<String> {
        std::mem::take(&mut *self.asked.lock().unwrap())
    }
}

fn answer(
    stream: TcpStream,
    endpoint: &str,
    revision: &str,
    files: &Mutex<BTreeMap<String, Vec<u8>>>,
    asked: &Mutex<Vec<String>>,
) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let request = lines.next().unwrap_or_else(|| Ok(String::new()))?;
    let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut range = None;
    for line in lines {
        let line = line?.to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(value) = line.strip_prefix("range: bytes=") {
            range = value.split_once('-').map(|(from, to)| (from.parse().unwrap_or(0), to.parse().ok()));
        }
    }
    asked.lock().unwrap().push(path.clone());
    let name = path.rsplit('/').next().unwrap_or_default();
    let resolved = path.contains(&format!("/resolve/{revision}/"));
    let found = files.lock().unwrap().get(name).cloned().filter(|_| resolved || path.starts_with("/content/"));
    let Some(bytes) = found else {
        return reply(stream, "404 Not Found", "", b"");
    };
    // Tells contents of one length apart, as the real ones do.
    let sum = bytes.iter().fold(0_u32, |sum, &byte| sum.wrapping_mul(31).wrapping_add(u32::from(byte)));
    let named = format!("ETag: \"{sum:08x}\"\r\nX-Repo-Commit: {revision}\r\n");
    if resolved && bytes.len() >= LARGE {
        let headers = format!("{named}X-Linked-ETag: \"{sum:08x}-large\"\r\nLocation: {endpoint}/content/{name}\r\n");
        return reply(stream, "302 Found", &headers, b"");
    }
    let (from, to): (usize, Option<usize>) = range.unwrap_or((0, None));
    let to = to.map_or(bytes.len(), |last| (last + 1).min(bytes.len()));
    let headers = format!("{named}Content-Range: bytes {from}-{}/{}\r\n", to.saturating_sub(1), bytes.len());
    reply(stream, "206 Partial Content", &headers, bytes.get(from..to).unwrap_or_default())
}

fn reply(mut stream: TcpStream, status: &str, headers: &str, body: &[u8]) -> std::io::Result<()> {
    let head = format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    stream.write_all(head.as_bytes())?;
    stream.write_all(body)
}
