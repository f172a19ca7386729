use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use kiln_core::Cancel;

use super::*;

/// A server that answers each path with the bytes given for it, as often as it is asked, and remembers what it was
/// sent. Of several answers for one path each is given once, the last for ever.
struct Server {
    host: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Server {
    fn start(answers: &[(&str, &str)]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let mut by_path: HashMap<String, Vec<String>> = HashMap::new();
        for (path, answer) in answers {
            by_path.entry((*path).to_owned()).or_default().insert(0, (*answer).to_owned());
        }
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let heard = asked.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let request = head(&mut stream);
                let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
                heard.lock().unwrap().push(request);
                let answers = by_path.entry(path).or_default();
                let answer = match &answers[..] {
                    [] => "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n".to_owned(),
                    [last] => last.clone(),
                    _ => answers.pop().unwrap(),
                };
                // Whoever asked may have gone.
                let _ = stream.write_all(answer.as_bytes());
            }
        });
        Self { host, asked }
    }

    fn fetch(&self, path: &str) -> Result<(Answer, String), WebError> {
        self.ask(path, |ask| ask)
    }

    fn ask(
        &self,
        path: &str,
        change: impl for<'a> FnOnce(Ask<'a>) -> Ask<'a>,
    ) -> Result<(Answer, String), WebError> {
        let address = Address::parse(&format!("http://{}{path}", self.host)).unwrap();
        let web = Web::new(Patience::DEFAULT, Arc::new(Cancel::default()));
        let mut to = Memory { bytes: Vec::new(), limit: 1000 };
        let ask = Ask { address: &address, etag: None, last_modified: None, authorization: None };
        let answer = web.fetch(&change(ask), &mut to)?;
        Ok((answer, String::from_utf8(to.bytes).unwrap()))
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

fn head(stream: &mut TcpStream) -> String {
    let mut text = String::new();
    let mut reader = BufReader::new(stream);
    while !text.ends_with("\r\n\r\n") && reader.read_line(&mut text).unwrap_or(0) > 0 {}
    text.to_ascii_lowercase().replacen("get ", "GET ", 1)
}

fn ok(headers: &str, body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n{headers}\r\n{body}", body.len())
}

fn to(location: &str) -> String {
    format!("HTTP/1.1 302 Found\r\nconnection: close\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n")
}

#[test]
fn what_comes_is_handed_on_with_what_is_said_of_it() {
    let server = Server::start(&[("/f", &ok("etag: \"1\"\r\nlast-modified: then\r\n", "content"))]);
    let (answer, content) = server.fetch("/f").unwrap();
    let Answer::New(arrival) = answer else { panic!("{answer:?}") };
    assert_eq!(content, "content");
    assert_eq!((arrival.etag.as_deref(), arrival.last_modified.as_deref()), (Some("\"1\""), Some("then")));
    assert_eq!(arrival.size, 7);
}

#[test]
fn what_is_here_is_asked_for_by_its_mark() {
    let server = Server::start(&[("/f", "HTTP/1.1 304 Not Modified\r\nconnection: close\r\n\r\n")]);
    let (answer, _) = server.ask("/f", |ask| Ask { etag: Some("\"1\""), ..ask }).unwrap();
    assert!(matches!(answer, Answer::Unchanged));
    assert!(server.asked()[0].contains("if-none-match: \"1\""), "{:?}", server.asked());
    // A server that sends the same thing again without having looked.
    let server = Server::start(&[("/f", &ok("etag: \"1\"\r\n", "content"))]);
    let (answer, content) = server.ask("/f", |ask| Ask { etag: Some("\"1\""), ..ask }).unwrap();
    assert!(matches!(answer, Answer::Unchanged) && content.is_empty());
}

#[test]
fn redirects_are_followed_and_credentials_stay_with_their_host() {
    let other = Server::start(&[("/g", &ok("", "there"))]);
    let server = Server::start(&[("/f", &to("/h")), ("/h", &to(&format!("http://{}/g", other.host)))]);
    let (_, content) = server.ask("/f", |ask| Ask { authorization: Some("Bearer x"), ..ask }).unwrap();
    assert_eq!(content, "there");
    assert!(server.asked().iter().all(|asked| asked.contains("authorization: bearer x")));
    assert!(!other.asked()[0].contains("authorization"), "{:?}", other.asked());
}

#[test]
fn circles_and_strange_redirects_end() {
    let server = Server::start(&[("/f", &to("/f")), ("/g", &to("file:///etc/passwd"))]);
    assert!(matches!(server.fetch("/f"), Err(WebError::Circles { .. })));
    assert!(matches!(server.fetch("/g"), Err(WebError::Redirect { to, .. }) if to == "file:///etc/passwd"));
}

#[test]
fn refusals_say_the_status_and_where_it_came_from() {
    let server = Server::start(&[("/f", &to("/gone"))]);
    let error = server.fetch("/f").unwrap_err();
    assert!(error.is_refusal());
    let text = error.to_string();
    assert!(text.ends_with(&format!(
        "/f` was answered with status 404 Not Found, after a redirect to `http://{}/gone`",
        server.host
    )));
}

#[test]
fn what_breaks_off_is_begun_anew() {
    let torn = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 9\r\n\r\nhalf";
    let busy = "HTTP/1.1 503 Busy\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
    let server = Server::start(&[("/f", torn), ("/f", busy), ("/f", &ok("", "all of it"))]);
    assert_eq!(server.fetch("/f").unwrap().1, "all of it");
    assert_eq!(server.asked().len(), 3);
}

#[test]
fn memory_has_a_limit() {
    let server = Server::start(&[("/f", &ok("", &"x".repeat(1001)))]);
    assert!(matches!(server.fetch("/f"), Err(WebError::Write { .. })));
}
