//! Serves the files and repositories of cases by HTTP on the loopback interface.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::images::digest_of;

/// Serves until this process ends; returns `127.0.0.1:PORT`.
///
/// `/CASE/PATH` is the file `http/PATH` beside the context of that case, with an `ETag` and with its time as
/// `Last-Modified`; below a directory `PATH.git` answers git; `/CASE/redirect/PATH` leads to `/CASE/PATH`.
pub(crate) fn serve(directory: &Path) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener.local_addr().expect("a socket has an address").to_string();
    let directory = directory.to_owned();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let directory = directory.clone();
            // A client may go away in the middle of an answer.
            std::thread::spawn(move || drop(answer(&stream, &directory)));
        }
    });
    address
}

struct Request {
    method: String,
    path: String,
    query: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Request {
    fn read(stream: &TcpStream) -> std::io::Result<Self> {
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let mut words = line.split_whitespace().map(str::to_owned);
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        let mut request = Self {
            method,
            path: path.to_owned(),
            query: query.to_owned(),
            headers: Vec::new(),
            body: Vec::new(),
        };
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            let Some((name, value)) = line.trim_end().split_once(':') else { break };
            request.headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        if request.header("transfer-encoding") == "chunked" {
            loop {
                let mut size = String::new();
                reader.read_line(&mut size)?;
                let size = usize::from_str_radix(size.trim(), 16).unwrap_or_default();
                let mut chunk = vec![0; size + 2];
                reader.read_exact(&mut chunk)?;
                if size == 0 {
                    break;
                }
                request.body.extend(&chunk[..size]);
            }
        } else {
            request.body = vec![0; request.header("content-length").parse().unwrap_or_default()];
            reader.read_exact(&mut request.body)?;
        }
        Ok(request)
    }

    fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(other, _)| other == name).map_or("", |(_, value)| value)
    }
}

fn answer(mut stream: &TcpStream, directory: &Path) -> std::io::Result<()> {
    let request = Request::read(stream)?;
    let mut parts = request.path.trim_start_matches('/').splitn(2, '/');
    let (case, path) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    if let Some(there) = path.strip_prefix("redirect/") {
        return write!(
            stream,
            "HTTP/1.1 302 Found\r\nLocation: /{case}/{there}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        );
    }
    let root = directory.join(case).join("http");
    let file = root.join(path);
    if path.contains("..") || !file.starts_with(directory) {
        return write!(stream, "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    }
    if path.split('/').any(|part| part.ends_with(".git")) {
        return answer_git(stream, &request, &root, path);
    }
    let Ok(content) = fs::read(&file) else {
        return write!(stream, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    };
    let tag = format!("\"{}\"", &digest_of(&content)[7..23]);
    let (status, body) = match request.header("if-none-match").contains(&tag) {
        true => ("304 Not Modified", &[][..]),
        false => ("200 OK", content.as_slice()),
    };
    write!(stream, "HTTP/1.1 {status}\r\nETag: {tag}\r\nContent-Length: {}\r\n", body.len())?;
    if let Some(time) = last_modified(&file) {
        write!(stream, "Last-Modified: {time}\r\n")?;
    }
    write!(stream, "Connection: close\r\n\r\n")?;
    if request.method != "HEAD" {
        stream.write_all(body)?;
    }
    Ok(())
}

/// The time of a file in the form of HTTP headers.
fn last_modified(file: &Path) -> Option<String> {
    let output = Command::new("date")
        .args(["--utc", "+%a, %d %b %Y %H:%M:%S GMT", "--reference"])
        .arg(file)
        .env("LC_ALL", "C")
        .output()
        .ok()?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
}

/// Lets git's own program for web servers answer.
fn answer_git(mut stream: &TcpStream, request: &Request, root: &Path, path: &str) -> std::io::Result<()> {
    let mut child = Command::new("git")
        .arg("http-backend")
        .env("GIT_PROJECT_ROOT", root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("GIT_CONFIG_COUNT", "2")
        .envs([("GIT_CONFIG_KEY_0", "safe.directory"), ("GIT_CONFIG_VALUE_0", "*")])
        .envs([("GIT_CONFIG_KEY_1", "uploadpack.allowAnySHA1InWant"), ("GIT_CONFIG_VALUE_1", "true")])
        .env("PATH_INFO", format!("/{path}"))
        .env("QUERY_STRING", &request.query)
        .env("REQUEST_METHOD", &request.method)
        .env("CONTENT_TYPE", request.header("content-type"))
        .env("CONTENT_LENGTH", request.body.len().to_string())
        .env("HTTP_CONTENT_ENCODING", request.header("content-encoding"))
        .env("GIT_PROTOCOL", request.header("git-protocol"))
        .env("REMOTE_ADDR", "127.0.0.1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut stdin = child.stdin.take().expect("standard input is a pipe");
    let output = std::thread::scope(|scope| {
        scope.spawn(move || drop(stdin.write_all(&request.body)));
        child.wait_with_output()
    })?;
    let end = output.stdout.windows(4).position(|bytes| bytes == b"\r\n\r\n").unwrap_or_default();
    let headers = String::from_utf8_lossy(&output.stdout[..end]).into_owned();
    let body = &output.stdout[(end + 4).min(output.stdout.len())..];
    let status = headers.lines().find_map(|line| line.strip_prefix("Status: ")).unwrap_or("200 OK");
    write!(stream, "HTTP/1.1 {status}\r\n")?;
    for line in headers.lines().filter(|line| !line.starts_with("Status: ")) {
        write!(stream, "{line}\r\n")?;
    }
    write!(stream, "Content-Length: {}\r\nConnection: close\r\n\r\n", body.len())?;
    stream.write_all(body)
}
