//! Registries of the tests: Debian's docker-registry with or without a password, and one that lies.

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;
use tempfile::TempDir;

use crate::process::eventually;
use crate::space::shell;

/// Debian's docker-registry, empty, on a port of its own.
pub(crate) struct Docker {
    process: Child,
    port: u16,
    _directory: TempDir,
}

/// `kiln` with the password `secret`, as htpasswd -B writes it.
pub(crate) const HTPASSWD: &str = "kiln:$2y$05$D//65lvVV4op2NhPf8HE2.MquCav4PL8/cz/.whTTwmFXRp/EQ08G\n";

impl Docker {
    pub(crate) fn start(htpasswd: Option<&str>) -> Self {
        let directory = tempfile::tempdir().expect("a directory for the registry");
        let path = directory.path().display().to_string();
        // The kernel names a free port; the moment until the registry takes it is short.
        let port = TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| listener.local_addr())
            .expect("a free port")
            .port();
        let mut config = format!(
            "version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\n\
             storage: {{filesystem: {{rootdirectory: \"{path}/storage\"}}, delete: {{enabled: true}}}}\n\
             http: {{addr: \"127.0.0.1:{port}\", secret: loopback}}\n"
        );
        if let Some(users) = htpasswd {
            fs::write(directory.path().join("users"), users).expect("the users are written");
            config.push_str(&format!("auth: {{htpasswd: {{realm: tests, path: \"{path}/users\"}}}}\n"));
        }
        fs::write(directory.path().join("config.yml"), config).expect("the configuration is written");
        let process = Command::new("docker-registry")
            .arg("serve")
            .arg(directory.path().join("config.yml"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("docker-registry (a Debian package) starts");
        eventually("docker-registry answers", || TcpStream::connect(("127.0.0.1", port)).is_ok());
        Self { process, port, _directory: directory }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What is wrong with an answer of [`Lying`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lie {
    None,
    /// The layer's bytes are not those of its digest, though as many.
    OtherLayer,
    /// The connection ends in the middle of the layer.
    TruncatedLayer,
    /// The layer is shorter than its descriptor says, and complete as HTTP goes.
    ShortLayer,
    /// The configuration is not that of its digest.
    OtherConfig,
    /// The manifest is no JSON.
    NoManifest,
    /// 500 for every blob.
    ServerError,
    /// The answer to a request for a blob never comes to its end.
    Silence,
}

/// A registry of one repository, `it`, over HTTP. It wants an anonymous token first if told so.
pub(crate) struct Lying {
    port: u16,
    lie: Arc<Mutex<Lie>>,
    pub(crate) manifest_digest: String,
}

struct Content {
    blobs: HashMap<String, Vec<u8>>,
    layer: String,
    config: String,
    manifest: Vec<u8>,
    token: bool,
}

impl Lying {
    /// Serves an image whose one layer is `tar`.
    pub(crate) fn start(tar: &[u8], token: bool) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let path = |name: &str| directory.path().join(name);
        fs::write(path("layer"), tar).expect("the layer is written");
        shell(&format!("gzip -kn '{}'", path("layer").display()));
        let digest =
            |name: &str| format!("sha256:{}", &shell(&format!("sha256sum '{}'", path(name).display()))[..64]);
        let diff_id = digest("layer");
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        let config = json!({
            "architecture": architecture, "os": "linux", "config": {},
            "rootfs": { "type": "layers", "diff_ids": [diff_id] },
        });
        fs::write(path("config"), config.to_string()).expect("the configuration is written");
        let blob = |name: &str| fs::read(path(name)).expect("the blob is there");
        let (layer, config) = (digest("layer.gz"), digest("config"));
        let manifest = json!({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": { "mediaType": "application/vnd.oci.image.config.v1+json", "digest": config, "size": blob("config").len() },
            "layers": [{
                "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": layer, "size": blob("layer.gz").len(),
            }],
        });
        fs::write(path("manifest"), manifest.to_string()).expect("the manifest is written");
        let content = Content {
            blobs: HashMap::from([(layer.clone(), blob("layer.gz")), (config.clone(), blob("config"))]),
            layer,
            config,
            manifest: blob("manifest"),
            token,
        };
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("a bound socket has an address").port();
        let lie = Arc::new(Mutex::new(Lie::None));
        let (content, told) = (Arc::new(content), Arc::clone(&lie));
        // The threads end with the process.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (content, told) = (Arc::clone(&content), Arc::clone(&told));
                std::thread::spawn(move || drop(answer(stream, &content, &told)));
            }
        });
        Self { port, lie, manifest_digest: digest("manifest") }
    }

    pub(crate) fn tell(&self, lie: Lie) {
        *self.lie.lock().expect("no thread panics with the lock") = lie;
    }

    /// `127.0.0.1:PORT`
    pub(crate) fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }
}

/// Answers one request and closes the connection.
fn answer(mut stream: TcpStream, content: &Content, lie: &Mutex<Lie>) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let request = lines.next().unwrap_or_else(|| Ok(String::new()))?;
    let mut authorized = !content.token;
    for line in lines {
        let line = line?;
        authorized |= line.to_ascii_lowercase().starts_with("authorization: bearer open-sesame");
        if line.is_empty() {
            break;
        }
    }
    let host = stream.local_addr()?;
    let mut words = request.split(' ');
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let lie = *lie.lock().expect("no thread panics with the lock");
    let mut send = |status: &str, kind: &str, extra: &str, body: &[u8]| {
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n{extra}Connection: close\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes())?;
        if method != "HEAD" {
            stream.write_all(body)?;
        }
        stream.flush()
    };
    if path.starts_with("/token") {
        return send("200 OK", "application/json", "", br#"{"token":"open-sesame"}"#);
    }
    if !authorized {
        let challenge = format!(
            "Www-Authenticate: Bearer realm=\"http://{host}/token\",service=\"tests\",scope=\"repository:it:pull\"\r\n"
        );
        return send(
            "401 Unauthorized",
            "application/json",
            &challenge,
            br#"{"errors":[{"code":"UNAUTHORIZED"}]}"#,
        );
    }
    if path == "/v2/" {
        return send("200 OK", "application/json", "", b"{}");
    }
    if path.starts_with("/v2/it/manifests/") {
        let manifest =
            if lie == Lie::NoManifest { b"<html>It works!</html>" } else { content.manifest.as_slice() };
        return send("200 OK", "application/vnd.oci.image.manifest.v1+json", "", manifest);
    }
    let Some((digest, blob)) =
        path.strip_prefix("/v2/it/blobs/").and_then(|digest| content.blobs.get_key_value(digest))
    else {
        return send("404 Not Found", "application/json", "", br#"{"errors":[{"code":"BLOB_UNKNOWN"}]}"#);
    };
    let kind = "application/octet-stream";
    let mut other = blob.clone();
    let middle = other.len() / 2;
    other[middle] ^= 0x55;
    match lie {
        Lie::ServerError => send("500 Internal Server Error", "text/plain", "", b"something broke"),
        Lie::OtherConfig if *digest == content.config => send("200 OK", kind, "", &other),
        Lie::OtherLayer if *digest == content.layer => send("200 OK", kind, "", &other),
        Lie::ShortLayer if *digest == content.layer => send("200 OK", kind, "", &blob[..middle]),
        Lie::TruncatedLayer | Lie::Silence if *digest == content.layer && method != "HEAD" => {
            let head =
                format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n", blob.len());
            stream.write_all(head.as_bytes())?;
            stream.write_all(&blob[..middle])?;
            stream.flush()?;
            if lie == Lie::Silence {
                std::thread::sleep(Duration::from_secs(600));
            }
            Ok(())
        }
        _ => send("200 OK", kind, "", blob),
    }
}

/// A tar archive of regular files, each a path taken as it is and its content.
pub(crate) fn tar(files: &[(&str, &str)]) -> Vec<u8> {
    let mut archive = Vec::new();
    for (path, content) in files {
        entry(&mut archive, path, b'0', "", content.as_bytes());
    }
    archive.resize(archive.len() + 1024, 0);
    archive
}

/// A tar archive with a symbolic link first, and then a file.
pub(crate) fn tar_with_link(link: (&str, &str), file: (&str, &str)) -> Vec<u8> {
    let mut archive = Vec::new();
    entry(&mut archive, link.0, b'2', link.1, b"");
    entry(&mut archive, file.0, b'0', "", file.1.as_bytes());
    archive.resize(archive.len() + 1024, 0);
    archive
}

/// One entry in the ustar format.
fn entry(archive: &mut Vec<u8>, path: &str, kind: u8, target: &str, content: &[u8]) {
    let mut header = [0u8; 512];
    let mut put = |at: usize, bytes: &[u8]| header[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, path.as_bytes());
    put(100, b"0000644\0");
    put(108, b"0000000\0");
    put(116, b"0000000\0");
    put(124, format!("{:011o}\0", content.len()).as_bytes());
    put(136, b"00000000000\0");
    put(148, b"        ");
    put(156, &[kind]);
    put(157, target.as_bytes());
    put(257, b"ustar\x0000");
    let sum: u32 = header.iter().map(|&byte| u32::from(byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    archive.extend(header);
    archive.extend(content);
    archive.resize(archive.len().next_multiple_of(512), 0);
}
