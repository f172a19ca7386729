use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use kiln_core::Platform;

use super::*;

/// A registry of the Debian package `docker-registry`, gone with the value.
pub(super) struct RealRegistry {
    host: String,
    server: Child,
    directory: tempfile::TempDir,
}

pub(super) enum Guard {
    Nobody,
    /// User `me`, password `se:cret`.
    Password,
    Tls,
}

impl RealRegistry {
    pub(super) fn start(guard: &Guard) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let host = format!("127.0.0.1:{port}");
        let mut config = format!(
            "version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: {host}\n",
            path.join("data").display()
        );
        match guard {
            Guard::Nobody => {}
            Guard::Password => {
                let line = run("htpasswd", &["-Bbn", "me", "se:cret"]);
                std::fs::write(path.join("htpasswd"), line).unwrap();
                let file = path.join("htpasswd");
                config += &format!("auth:\n  htpasswd:\n    realm: test\n    path: {}\n", file.display());
            }
            Guard::Tls => {
                let name = |name: &str| path.join(name).to_str().unwrap().to_owned();
                let (ca, ca_key) = (name("ca.pem"), name("ca.key"));
                let (certificate, key) = (name("leaf.pem"), name("leaf.key"));
                let new = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
                let own = ["-days", "2", "-subj", "/CN=kiln test", "-keyout", &ca_key, "-out", &ca];
                run("openssl", &[&new[..], &own].concat());
                let leaf = ["-days", "2", "-subj", "/CN=127.0.0.1", "-keyout", &key, "-out", &certificate];
                let names =
                    ["-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=CA:FALSE"];
                run("openssl", &[&new[..], &["-CA", &ca, "-CAkey", &ca_key], &leaf, &names].concat());
                config += &format!("  tls:\n    certificate: {certificate}\n    key: {key}\n");
            }
        }
        std::fs::write(path.join("config.yml"), config).unwrap();
        let server = Command::new("docker-registry")
            .arg("serve")
            .arg(path.join("config.yml"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("this test needs the Debian package docker-registry");
        let mut started = Self { host, server, directory };
        for _ in 0..200 {
            if std::net::TcpStream::connect(&started.host).is_ok() {
                break;
            }
            let ended = started.server.try_wait().unwrap();
            assert!(ended.is_none(), "docker-registry on {} ended with {ended:?}", started.host);
            std::thread::sleep(Duration::from_millis(50));
        }
        started
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(super) fn reference(&self, rest: &str) -> ImageRef {
        reference(&format!("{}/{rest}", self.host))
    }

    pub(super) fn client(&self) -> Registry {
        client(&[(&self.host, plain())], Credentials::anonymous())
    }
}

impl Drop for RealRegistry {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

fn run(program: &str, arguments: &[&str]) -> Vec<u8> {
    let output = Command::new(program)
        .args(arguments)
        .stderr(Stdio::piped())
        .output()
        .unwrap_or_else(|error| panic!("this test needs `{program}`: {error}"));
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

#[test]
fn what_is_pushed_is_pulled() {
    let server = RealRegistry::start(&Guard::Nobody);
    let registry = server.client();
    let sample = Sample::new(3_000_000);
    let name = server.reference("team/app:1");
    sample.push(&registry, &name);

    let platform = Platform::new("linux", "amd64", "");
    let image = registry.image(&name, &platform).unwrap();
    assert!(image.index.is_none());
    assert_eq!(image.manifest.bytes, sample.manifest);
    assert_eq!(registry.resolve_digest(&name).unwrap(), image.manifest.digest);
    let pinned = ImageRef { tag: None, digest: Some(image.manifest.digest.0), ..name.clone() };
    assert_eq!(registry.resolve(&pinned).unwrap(), image.manifest);
    assert_eq!(registry.small_blob(&name, &image.parsed.config).unwrap(), sample.config);

    let (mut layer, mut steps) = (Vec::new(), Vec::new());
    registry.blob(&name, &image.parsed.layers[0], &mut layer, &mut |done| steps.push(done)).unwrap();
    assert!(layer == sample.layer);
    assert!(steps.is_sorted() && steps.last() == Some(&3_000_000));
}

#[test]
fn an_index_leads_to_the_image_for_the_platform() {
    let server = RealRegistry::start(&Guard::Nobody);
    let registry = server.client();
    let name = server.reference("multi:2");
    let mut entries = Vec::new();
    for (arch, size) in [("amd64", 10), ("arm64", 20)] {
        let sample = Sample::new(size);
        sample.push(&registry, &ImageRef { tag: None, ..name.clone() });
        let descriptor = Descriptor::of(media_type::OCI_MANIFEST, &sample.manifest);
        entries.push(descriptor.with_platform(Platform::new("linux", arch, "")));
    }
    let index = Index::new(entries);
    registry.push_manifest(&name, media_type::OCI_INDEX, &index.to_json()).unwrap();

    let image = registry.image(&name, &Platform::new("linux", "arm64", "")).unwrap();
    assert_eq!(image.index.unwrap().bytes, index.to_json());
    assert_eq!(image.parsed.layers[0].size, 20);
    assert_eq!(image.platform.unwrap().to_string(), "linux/arm64");
    let error = registry.image(&name, &Platform::new("linux", "riscv64", "")).unwrap_err().to_string();
    assert!(error.contains("linux/riscv64") && error.contains("linux/amd64, linux/arm64"), "{error}");
}

#[test]
fn what_is_there_is_not_sent_again_and_what_another_repository_has_is_mounted() {
    let server = RealRegistry::start(&Guard::Nobody);
    let registry = server.client();
    let sample = Sample::new(1000);
    let (first, second) = (server.reference("first:1"), server.reference("second:1"));
    sample.push(&registry, &first);
    let layer = sample.layer_descriptor();
    let mut never = || panic!("nothing is to be sent");
    let again = registry.push_blob(&first, &layer, None, &mut never, &mut |_| {}).unwrap();
    assert_eq!(again, Pushed::WasThere);
    assert!(!registry.has_blob(&second, layer.digest).unwrap());
    let mounted = registry.push_blob(&second, &layer, Some("first"), &mut never, &mut |_| {}).unwrap();
    assert_eq!(mounted, Pushed::Mounted);
    assert!(registry.has_blob(&second, layer.digest).unwrap());
}

#[test]
fn a_manifest_without_its_blobs_is_refused_with_the_registrys_words() {
    let server = RealRegistry::start(&Guard::Nobody);
    let registry = server.client();
    let sample = Sample::new(10);
    let error = registry
        .push_manifest(&server.reference("x:1"), media_type::OCI_MANIFEST, &sample.manifest)
        .unwrap_err();
    assert!(matches!(&error, RegistryError::Status { said, .. } if !said.0.is_empty()), "{error}");
}

#[test]
fn skopeo_sees_what_was_pushed_and_its_images_are_read() {
    let server = RealRegistry::start(&Guard::Nobody);
    let registry = server.client();
    let name = server.reference("app:1");
    Sample::new(100).push(&registry, &name);
    let source = format!("docker://{name}");
    run("skopeo", &["inspect", "--raw", "--tls-verify=false", &source]);
    // As Docker's own manifest, and under another name.
    let copy = server.reference("copy:1");
    let target = format!("docker://{copy}");
    run(
        "skopeo",
        &["copy", "--src-tls-verify=false", "--dest-tls-verify=false", "--format", "v2s2", &source, &target],
    );
    let image = registry.image(&copy, &Platform::new("linux", "amd64", "")).unwrap();
    assert_eq!(image.manifest.media_type, media_type::DOCKER_MANIFEST);
}

#[test]
fn passwords_come_from_the_configuration_file_and_are_named_when_they_are_wrong() {
    let server = RealRegistry::start(&Guard::Password);
    let name = server.reference("private/app:1");
    let hosts: &[(&str, HostConfig)] = &[(&server.host, plain())];
    let file = server.path().join("config.json");
    let login = |secret: &str| {
        // `me:se:cret` and `me:wrong`.
        let text = format!(r#"{{"auths":{{"{}":{{"auth":"{secret}"}}}}}}"#, server.host);
        std::fs::write(&file, text).unwrap();
        client(hosts, Credentials::from_files([file.clone()]).unwrap())
    };
    let sample = Sample::new(2_000_000);
    sample.push(&login("bWU6c2U6Y3JldA=="), &name);
    assert!(login("bWU6c2U6Y3JldA==").resolve(&name).is_ok());

    let error = login("bWU6d3Jvbmc=").resolve(&name).unwrap_err();
    assert!(matches!(error, RegistryError::Denied { .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains("user `me`") && text.contains("config.json"), "{text}");
    assert!(!text.contains("wrong"), "{text}");

    let error = client(hosts, Credentials::anonymous()).resolve(&name).unwrap_err();
    assert!(matches!(error, RegistryError::Anonymous { .. }), "{error}");
    assert!(error.to_string().contains("docker login"), "{error}");
}

#[test]
fn a_mirror_serves_docker_hub_under_the_same_path() {
    let server = RealRegistry::start(&Guard::Nobody);
    let sample = Sample::new(10);
    sample.push(&server.client(), &server.reference("library/busybox:1"));
    let hub = HostConfig { mirrors: vec![server.host.clone()], ..HostConfig::default() };
    let registry = client(&[("docker.io", hub), (&server.host, plain())], Credentials::anonymous());
    let found = registry.resolve(&reference("busybox:1")).unwrap();
    assert_eq!(found.host, server.host);
    assert_eq!(found.bytes, sample.manifest);
}

#[test]
fn a_mirror_that_lacks_it_or_is_down_is_passed_over() {
    let (one, two) = (RealRegistry::start(&Guard::Nobody), RealRegistry::start(&Guard::Nobody));
    let sample = Sample::new(10);
    sample.push(&two.client(), &two.reference("app:1"));
    // Nothing listens on the first port of any machine.
    let dead = "127.0.0.1:1".to_owned();
    let mirrors = vec![format!("http://{dead}"), format!("http://{}", one.host)];
    let host = HostConfig { mirrors, ..plain() };
    let registry = client(&[(&two.host, host)], Credentials::anonymous());
    let found = registry.resolve(&two.reference("app:1")).unwrap();
    assert_eq!(found.host, two.host);
    let mut layer = Vec::new();
    registry.blob(&two.reference("app:1"), &sample.layer_descriptor(), &mut layer, &mut |_| {}).unwrap();
    assert!(layer == sample.layer);

    let error = registry.resolve(&two.reference("nothing:1")).unwrap_err();
    assert!(matches!(error.root(), RegistryError::NotFound { .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains(&dead) && text.contains(&format!("`{}` (not there)", one.host)), "{text}");
}

#[test]
fn tls_trusts_the_configured_authority_and_says_what_to_set_otherwise() {
    let server = RealRegistry::start(&Guard::Tls);
    let sample = Sample::new(10);
    let name = server.reference("app:1");
    let trusting = HostConfig { ca: Some(server.path().join("ca.pem")), ..HostConfig::default() };
    let registry = client(&[(&server.host, trusting)], Credentials::anonymous());
    sample.push(&registry, &name);
    assert!(registry.resolve(&name).is_ok());

    let error = client(&[], Credentials::anonymous()).resolve(&name).unwrap_err();
    assert!(matches!(&error, RegistryError::Tls { .. }), "{error:?}");
    assert!(error.to_string().contains("`ca`"), "{error}");

    let missing = HostConfig { ca: Some(server.path().join("nothing.pem")), ..HostConfig::default() };
    let error = client(&[(&server.host, missing)], Credentials::anonymous()).resolve(&name).unwrap_err();
    assert!(error.to_string().contains("nothing.pem"), "{error}");
}

#[test]
fn a_server_without_tls_is_an_error_that_says_what_to_set() {
    let server = RealRegistry::start(&Guard::Nobody);
    let error = client(&[], Credentials::anonymous()).resolve(&server.reference("app:1")).unwrap_err();
    assert!(matches!(&error, RegistryError::Tls { .. }), "{error:?}");
    assert!(error.to_string().contains("plain-http = true"), "{error}");
}

#[test]
fn a_host_that_is_not_there_is_named() {
    // Nothing listens on the first port of any machine.
    let dead = "127.0.0.1:1".to_owned();
    let registry = client(&[(&dead, plain())], Credentials::anonymous());
    let error = registry.resolve(&reference(&format!("{dead}/app:1"))).unwrap_err();
    assert!(matches!(&error, RegistryError::Unreachable { host, .. } if *host == dead), "{error:?}");
    let registry = client(&[("no-such-host.invalid", plain())], Credentials::anonymous());
    let error = registry.resolve(&reference("no-such-host.invalid/app:1")).unwrap_err();
    assert!(matches!(&error, RegistryError::Unreachable { .. }), "{error:?}");
}
