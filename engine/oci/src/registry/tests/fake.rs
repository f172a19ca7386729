use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use super::*;

/// What the fake was asked.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) method: String,
    pub(super) path: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Asked {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

pub(super) struct Answer {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
    /// Close the connection after so many bytes of the body.
    cut: Option<usize>,
    /// Say nothing more after the cut, but keep the connection open.
    hang: bool,
}

pub(super) fn answer(status: u16, body: &[u8]) -> Answer {
    Answer { status, headers: Vec::new(), body: body.to_vec(), cut: None, hang: false }
}

impl Answer {
    pub(super) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

type Handler = dyn Fn(usize, &Asked) -> Answer + Send + Sync;

/// An HTTP server that answers as the test says; the handler is told the number of the request.
pub(super) struct Fake {
    host: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Fake {
    pub(super) fn start(handler: impl Fn(usize, &Asked) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let handler: Arc<Handler> = Arc::new(handler);
        let (count, log) = (Arc::new(AtomicUsize::new(0)), Arc::clone(&asked));
        // The threads end with the test's process.
        std::thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let (handler, count, log) = (Arc::clone(&handler), Arc::clone(&count), Arc::clone(&log));
                std::thread::spawn(move || serve(connection, &*handler, &count, &log));
            }
        });
        Self { host, asked }
    }

    fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    pub(super) fn reference(&self, rest: &str) -> ImageRef {
        reference(&format!("{}/{rest}", self.host))
    }

    pub(super) fn client(&self) -> Registry {
        client(&[(&self.host, plain())], Credentials::anonymous())
    }
}

fn serve(
    connection: TcpStream,
    handler: &Handler,
    count: &AtomicUsize,
    log: &Mutex<Vec<Asked>>,
) -> Option<()> {
    let mut reader = BufReader::new(connection.try_clone().ok()?);
    let mut writer = connection;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|count| *count > 0)?;
        let mut words = line.split_whitespace().map(str::to_owned);
        let mut asked =
            Asked { method: words.next()?, path: words.next()?, headers: Vec::new(), body: Vec::new() };
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).ok()?;
            let Some((name, value)) = line.trim_end().split_once(": ") else { break };
            asked.headers.push((name.to_owned(), value.to_owned()));
        }
        let length = asked.header("content-length").map_or(0, |length| length.parse().unwrap());
        asked.body = vec![0; length];
        reader.read_exact(&mut asked.body).ok()?;
        log.lock().unwrap().push(asked.clone());
        let answer = handler(count.fetch_add(1, Ordering::SeqCst), &asked);
        let mut head = format!("HTTP/1.1 {} X\r\n", answer.status);
        if !answer.headers.iter().any(|(name, _)| *name == "content-length") {
            head += &format!("content-length: {}\r\n", answer.body.len());
        }
        for (name, value) in &answer.headers {
            head += &format!("{name}: {value}\r\n");
        }
        writer.write_all(format!("{head}\r\n").as_bytes()).ok()?;
        if asked.method != "HEAD" {
            writer.write_all(&answer.body[..answer.cut.unwrap_or(answer.body.len())]).ok()?;
        }
        if answer.hang {
            std::thread::sleep(Duration::from_secs(60));
        }
        if answer.cut.is_some() {
            return None;
        }
    }
}

fn manifest_answer(sample: &Sample) -> Answer {
    answer(200, &sample.manifest).with("content-type", media_type::OCI_MANIFEST)
}

fn pull(registry: &Registry, from: &ImageRef, blob: &Descriptor) -> Result<Vec<u8>, RegistryError> {
    let mut layer = Vec::new();
    registry.blob(from, blob, &mut layer, &mut |_| {})?;
    Ok(layer)
}

#[test]
fn a_manifest_or_blob_with_another_digest_is_refused_with_both_digests() {
    let fake = Fake::start(|_, asked| match asked.path.contains("/manifests/") {
        true => manifest_answer(&Sample::new(11)),
        false => answer(200, &bytes(9)[..5]),
    });
    let wanted = Descriptor::of(media_type::OCI_MANIFEST, b"something else").digest;
    let pinned = ImageRef { digest: Some(wanted.0), ..fake.reference("app") };
    let error = fake.client().resolve(&pinned).unwrap_err();
    let found = Descriptor::of("", &Sample::new(11).manifest).digest;
    assert!(matches!(&error, RegistryError::DigestMismatch { .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains(&wanted.to_string()) && text.contains(&found.to_string()), "{text}");

    let blob = Descriptor::of(media_type::OCI_LAYER, b"12345");
    let error = pull(&fake.client(), &fake.reference("app"), &blob).unwrap_err();
    assert!(matches!(&error, RegistryError::DigestMismatch { .. }), "{error}");
}

#[test]
fn a_digest_that_the_registry_states_wrongly_is_noticed() {
    let fake = Fake::start(|_, _| {
        let lie = Descriptor::of("", b"lie").digest;
        manifest_answer(&Sample::new(1)).with("docker-content-digest", lie.to_string())
    });
    let error = fake.client().resolve(&fake.reference("app:1")).unwrap_err();
    assert!(matches!(&error, RegistryError::DigestMismatch { .. }), "{error}");
}

#[test]
fn a_broken_connection_is_continued_from_where_it_broke() {
    let content = bytes(600_000);
    let served = content.clone();
    let fake = Fake::start(move |number, asked| match asked.header("range") {
        None if number == 0 => Answer { cut: Some(250_000), ..answer(200, &served) },
        Some("bytes=250000-") => Answer { cut: Some(100_000), ..answer(206, &served[250_000..]) }
            .with("content-range", "bytes 250000-599999/600000"),
        // From here on a server that knows no ranges.
        _ => answer(200, &served),
    });
    let blob = Descriptor::of(media_type::OCI_LAYER, &content);
    let (mut got, mut last) = (Vec::new(), 0);
    let reference = fake.reference("app");
    fake.client()
        .blob(&reference, &blob, &mut got, &mut |done| {
            assert!(done > last);
            last = done;
        })
        .unwrap();
    assert!(got == content);
    assert_eq!(fake.asked().len(), 3);
}

#[test]
fn a_blob_that_ends_early_or_late_is_an_error_after_a_few_attempts() {
    let fake = Fake::start(|_, _| answer(200, b"123"));
    let blob = |content: &[u8]| Descriptor::of(media_type::OCI_LAYER, content);
    let error = pull(&fake.client(), &fake.reference("app"), &blob(b"12345")).unwrap_err();
    assert!(matches!(&error, RegistryError::Truncated { found: 3, expected: 5, .. }), "{error}");
    assert_eq!(fake.asked().len(), 4);
    let error = pull(&fake.client(), &fake.reference("app"), &blob(b"1")).unwrap_err();
    assert!(matches!(&error, RegistryError::TooLong { .. }), "{error}");
}

#[test]
fn a_connection_that_always_breaks_is_a_truncated_blob() {
    let fake = Fake::start(|_, _| Answer { cut: Some(2), ..answer(200, b"12345") });
    let blob = Descriptor::of(media_type::OCI_LAYER, b"12345");
    let error = pull(&fake.client(), &fake.reference("app"), &blob).unwrap_err();
    assert!(matches!(&error, RegistryError::Truncated { expected: 5, .. }), "{error:?}");
}

#[test]
fn a_server_in_trouble_is_asked_again_and_one_that_limits_is_waited_for() {
    let fake = Fake::start(|number, _| match number {
        0 => answer(503, b""),
        1 => answer(429, b"").with("retry-after", "1"),
        _ => manifest_answer(&Sample::new(1)),
    });
    let start = Instant::now();
    fake.client().resolve(&fake.reference("app:1")).unwrap();
    assert!(start.elapsed() >= Duration::from_millis(1500));
    assert_eq!(fake.asked().len(), 3);
}

#[test]
fn a_limit_that_lasts_long_is_an_error_that_says_how_long() {
    let fake = Fake::start(|_, _| {
        answer(429, br#"{"errors":[{"code":"TOOMANYREQUESTS","message":"pull rate limit"}]}"#)
            .with("retry-after", "3600")
    });
    let error = fake.client().resolve(&fake.reference("app:1")).unwrap_err().to_string();
    assert!(error.contains("3600 seconds") && error.contains("pull rate limit"), "{error}");
    assert_eq!(fake.asked().len(), 1);
}

#[test]
fn a_server_that_falls_silent_is_not_waited_for_for_ever() {
    let fake = Fake::start(|_, _| Answer { cut: Some(2), hang: true, ..answer(200, b"12345") });
    let start = Instant::now();
    let blob = Descriptor::of(media_type::OCI_LAYER, b"12345");
    let error = pull(&fake.client(), &fake.reference("app"), &blob).unwrap_err();
    assert!(matches!(&error, RegistryError::Broken { .. } | RegistryError::Protocol { .. }), "{error}");
    assert!(start.elapsed() < Duration::from_secs(20));
}

#[test]
fn cancelling_wakes_a_transfer_that_waits() {
    let fake = Fake::start(|_, _| Answer { cut: Some(2), hang: true, ..answer(200, b"12345") });
    let cancel = Arc::new(Cancel::default());
    let patience = Patience { connect: Duration::from_secs(5), stall: Duration::from_secs(50) };
    let config = RegistryConfig { hosts: [(fake.host.clone(), plain())].into(), patience };
    let registry = Registry::new(config, Credentials::anonymous(), Arc::clone(&cancel));
    let waker = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(300));
        cancel.raise(1);
    });
    let start = Instant::now();
    let blob = Descriptor::of(media_type::OCI_LAYER, b"12345");
    let error = pull(&registry, &fake.reference("app"), &blob).unwrap_err();
    waker.join().unwrap();
    assert!(matches!(&error, RegistryError::Cancelled), "{error}");
    assert!(start.elapsed() < Duration::from_secs(3));
}

#[test]
fn a_redirect_to_another_host_does_not_take_the_credentials_along() {
    let content = bytes(1000);
    let served = content.clone();
    let cdn = Fake::start(move |_, _| answer(200, &served));
    let target = format!("http://{}/storage/x?signature=y", cdn.host);
    let fake = Fake::start(move |_, asked| match asked.header("authorization") {
        None => answer(401, b"").with("www-authenticate", "Basic realm=\"x\""),
        Some(_) if asked.path.ends_with("/moved") => answer(307, b"").with("location", target.clone()),
        Some(_) => answer(302, b"").with("location", "/v2/elsewhere/moved"),
    });
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("config.json");
    std::fs::write(&file, format!(r#"{{"auths":{{"{}":{{"auth":"bWU6cHc="}}}}}}"#, fake.host)).unwrap();
    let credentials = Credentials::from_files([file]).unwrap();
    let registry = client(&[(&fake.host, plain())], credentials);
    let blob = Descriptor::of(media_type::OCI_LAYER, &content);
    assert!(pull(&registry, &fake.reference("app"), &blob).unwrap() == content);
    // Kept on the way to another path of the same host, dropped on the way out.
    let moved = fake.asked().into_iter().find(|asked| asked.path.ends_with("/moved")).unwrap();
    assert_eq!(moved.header("authorization"), Some("Basic bWU6cHc="));
    assert_eq!(cdn.asked()[0].header("authorization"), None);
}

#[test]
fn redirects_in_circles_end() {
    let fake = Fake::start(|_, asked| answer(302, b"").with("location", asked.path.clone()));
    let error = fake.client().resolve(&fake.reference("app:1")).unwrap_err();
    assert!(error.to_string().contains("circles"), "{error}");
}

/// A registry that wants a token, and the server that gives it.
fn token_registry() -> Fake {
    Fake::start(|_, asked| {
        let token = |name: &str| answer(200, format!(r#"{{"token":"{name}","expires_in":300}}"#).as_bytes());
        if let Some(query) = asked.path.strip_prefix("/token?") {
            return match asked.header("authorization") {
                None if query == "service=svc&scope=repository%3Aopen%3Apull" => token("anonymous"),
                Some("Basic bWU6cHc=") => token("mine"),
                _ => answer(401, br#"{"details":"wrong password"}"#),
            };
        }
        if asked.path == "/token" {
            assert_eq!(asked.method, "POST");
            let form = String::from_utf8(asked.body.clone()).unwrap();
            assert!(
                form.contains("grant_type=refresh_token") && form.contains("refresh_token=ident"),
                "{form}"
            );
            assert!(form.contains("scope=repository%3Asecret%3Apull"), "{form}");
            return answer(200, br#"{"access_token":"mine"}"#);
        }
        let is_open = asked.path.contains("/open/");
        match asked.header("authorization") {
            Some("Bearer mine") => manifest_answer(&Sample::new(1)),
            Some("Bearer anonymous") if is_open => manifest_answer(&Sample::new(1)),
            _ => {
                let realm = format!("http://{}/token", asked.header("host").unwrap());
                let challenge = format!(r#"Bearer realm="{realm}",service="svc""#);
                answer(401, br#"{"errors":[{"code":"UNAUTHORIZED"}]}"#).with("www-authenticate", challenge)
            }
        }
    })
}

fn with_auth(fake: &Fake, entry: &str) -> Registry {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("auth.json");
    std::fs::write(&file, format!(r#"{{"auths":{{"{}":{entry}}}}}"#, fake.host)).unwrap();
    client(&[(&fake.host, plain())], Credentials::from_files([file]).unwrap())
}

#[test]
fn tokens_are_fetched_once_and_used_again() {
    let fake = token_registry();
    let registry = fake.client();
    registry.resolve(&fake.reference("open:1")).unwrap();
    registry.resolve(&fake.reference("open:2")).unwrap();
    let paths: Vec<_> = fake.asked().into_iter().map(|asked| asked.path).collect();
    assert_eq!(
        paths,
        [
            "/v2/open/manifests/1",
            "/token?service=svc&scope=repository%3Aopen%3Apull",
            "/v2/open/manifests/1",
            "/v2/open/manifests/2",
        ]
    );
}

#[test]
fn tokens_are_given_for_passwords_and_for_identities() {
    let fake = token_registry();
    with_auth(&fake, r#"{"auth":"bWU6cHc="}"#).resolve(&fake.reference("secret:1")).unwrap();
    with_auth(&fake, r#"{"identitytoken":"ident"}"#).resolve(&fake.reference("secret:1")).unwrap();
    with_auth(&fake, r#"{"registrytoken":"mine"}"#).resolve(&fake.reference("secret:1")).unwrap();
}

#[test]
fn refused_credentials_are_named_and_missing_ones_are_said_to_be_missing() {
    let fake = token_registry();
    let error = with_auth(&fake, r#"{"auth":"bWU6bm8="}"#).resolve(&fake.reference("secret:1")).unwrap_err();
    assert!(matches!(&error, RegistryError::Denied { .. }), "{error}");
    let text = error.to_string();
    assert!(
        text.contains("user `me`") && text.contains("auth.json") && text.contains("wrong password"),
        "{text}"
    );
    let error = fake.client().resolve(&fake.reference("secret:1")).unwrap_err();
    assert!(matches!(&error, RegistryError::Anonymous { .. }), "{error}");
}

#[test]
fn other_things_than_images_are_refused_by_what_they_are() {
    let fake = Fake::start(|_, asked| {
        let artifact = r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json",
            "artifactType":"application/vnd.example.sbom","layers":[],"config":{"mediaType":
            "application/vnd.oci.empty.v1+json","size":2,
            "digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"}}"#;
        match asked.path.rsplit('/').next().unwrap() {
            "artifact" => answer(200, artifact.as_bytes()).with("content-type", media_type::OCI_MANIFEST),
            "old" => {
                answer(200, b"{\"schemaVersion\":1}").with("content-type", media_type::DOCKER_SCHEMA1_SIGNED)
            }
            "page" => answer(200, b"<html>login</html>").with("content-type", "text/html"),
            _ => answer(200, &vec![b' '; 5 << 20]),
        }
    });
    let platform = kiln_core::Platform::new("linux", "amd64", "");
    for (tag, said) in [
        ("artifact", "vnd.example.sbom"),
        ("old", "before 2016"),
        ("page", "no JSON"),
        ("huge", "larger than"),
    ] {
        let error = fake.client().image(&fake.reference(&format!("x:{tag}")), &platform).unwrap_err();
        let source = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
        assert!(format!("{error}: {source}").contains(said), "{tag}: {error}: {source}");
    }
}
