//! Plugins in registries: pushed, read back by other tools, pulled, listed, signed, and refused when they are something else.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::plugins::component;
use crate::registry::{Docker, HTPASSWD};
use crate::space::{TestSpace, shell};

/// A registry, and a space whose kiln may speak to it.
pub(crate) struct Shop {
    pub(crate) space: TestSpace,
    pub(crate) registry: Docker,
}

impl Shop {
    pub(crate) fn open(htpasswd: Option<&str>) -> Self {
        Self::with(TestSpace::new(), htpasswd)
    }

    pub(crate) fn with(mut space: TestSpace, htpasswd: Option<&str>) -> Self {
        let registry = Docker::start(htpasswd);
        let config = fs::read_to_string(&space.config).expect("there is a configuration");
        space.config = space.path("kiln-config.toml");
        let own = format!("{config}\n[registry.\"127.0.0.1:{}\"]\nplain-http = true\n", registry.port());
        fs::write(&space.config, own).expect("the configuration is written");
        Self { space, registry }
    }

    /// `127.0.0.1:PORT/REST`
    pub(crate) fn name(&self, rest: &str) -> String {
        format!("127.0.0.1:{}/{rest}", self.registry.port())
    }

    /// Adds to the configuration.
    pub(crate) fn configure(&self, text: &str) {
        let config = fs::read_to_string(&self.space.config).expect("there is a configuration");
        fs::write(&self.space.config, format!("{config}\n{text}")).expect("the configuration is written");
    }

    /// Pushes the file and returns the digest of its manifest.
    #[track_caller]
    pub(crate) fn push(&self, file: &Path, rest: &str) -> String {
        let name = self.name(rest);
        let pushed = self.space.kiln(&["plugin", "push", path(file), &name]).ok();
        let line = pushed.text().trim().to_owned();
        let digest = line.strip_prefix(&format!("{name}@")).unwrap_or_else(|| panic!("{pushed}"));
        digest.to_owned()
    }

    /// Puts an artifact there that no kiln wrote: by skopeo, out of a layout that is written here.
    #[track_caller]
    fn put(&self, rest: &str, manifest: &Value, blobs: &[&[u8]]) -> String {
        let layout = Layout::new(&self.space.path(format!("layout-{}", rest.replace(['/', ':'], "-"))));
        for blob in blobs {
            layout.blob(blob);
        }
        let digest = layout.finish(manifest);
        shell(&format!(
            "skopeo copy -q --preserve-digests --dest-tls-verify=false 'oci:{}:it' 'docker://{}'",
            layout.0.display(),
            self.name(rest)
        ));
        digest
    }
}

/// A directory in the form of an OCI image layout.
struct Layout(PathBuf);

impl Layout {
    fn new(directory: &Path) -> Self {
        fs::create_dir_all(directory.join("blobs/sha256")).expect("a directory for blobs");
        fs::write(directory.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#)
            .expect("a file is written");
        Self(directory.to_owned())
    }

    fn blob(&self, bytes: &[u8]) -> String {
        let digest = sha256(bytes);
        fs::write(self.0.join("blobs/sha256").join(&digest[7..]), bytes).expect("a blob is written");
        digest
    }

    fn finish(&self, manifest: &Value) -> String {
        let bytes = manifest.to_string();
        let digest = self.blob(bytes.as_bytes());
        let index = json!({
            "schemaVersion": 2,
            "manifests": [{
                "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest, "size": bytes.len(),
                "annotations": { "org.opencontainers.image.ref.name": "it" },
            }],
        });
        fs::write(self.0.join("index.json"), index.to_string()).expect("the index is written");
        digest
    }
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    use sha2::Digest as _;
    let digest = sha2::Sha256::digest(bytes);
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

fn descriptor(media_type: &str, bytes: &[u8]) -> Value {
    json!({ "mediaType": media_type, "digest": sha256(bytes), "size": bytes.len() })
}

fn manifest(config: Value, layers: &[Value]) -> Value {
    json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": config, "layers": layers,
    })
}

pub(crate) fn path(path: &Path) -> &str {
    path.to_str().expect("the path is UTF-8")
}

pub(crate) fn example() -> PathBuf {
    component("examples/plugin-instruction")
}

#[test]
fn a_pushed_plugin_is_read_back_by_other_tools_and_by_kiln() {
    let shop = Shop::open(None);
    let plugin = example();
    let digest = shop.push(&plugin, "team/closure:1");
    assert_eq!(shop.push(&plugin, "team/closure:1"), digest, "the same file twice");
    let name = shop.name("team/closure:1");

    let raw = shell(&format!("skopeo inspect --raw --tls-verify=false 'docker://{name}'"));
    assert_eq!(sha256(raw.as_bytes()), digest);
    let raw: Value = serde_json::from_str(&raw).expect("a manifest is JSON");
    let wasm = fs::read(&plugin).expect("the component is there");
    assert_eq!(raw["config"]["mediaType"], "application/vnd.wasm.config.v0+json");
    assert_eq!(raw["layers"].as_array().map(Vec::len), Some(1));
    assert_eq!(raw["layers"][0]["mediaType"], "application/wasm");
    assert_eq!(raw["layers"][0]["digest"], sha256(&wasm));
    assert_eq!(raw["annotations"]["org.opencontainers.image.version"], "0.1.0");

    let layout = shop.space.path("copied");
    shell(&format!("skopeo copy -q --src-tls-verify=false 'docker://{name}' 'oci:{}:x'", layout.display()));
    let blob = |digest: &Value| {
        let hex = &digest.as_str().expect("a digest is text")[7..];
        fs::read(layout.join("blobs/sha256").join(hex)).expect("the blob was copied")
    };
    assert_eq!(blob(&raw["layers"][0]["digest"]), wasm);
    let config: Value =
        serde_json::from_slice(&blob(&raw["config"]["digest"])).expect("the configuration is JSON");
    assert_eq!(config["architecture"], "wasm");
    assert_eq!(config["os"], "wasip2");
    assert_eq!(config["created"], "1970-01-01T00:00:00Z");
    assert_eq!(config["layerDigests"], json!([sha256(&wasm)]));
    let exports = config["component"]["exports"].as_array().expect("a list of interfaces");
    assert!(exports.iter().any(|name| name == "kiln:plugin/describe@0.1.0"), "{config}");

    let pulled = shop.space.kiln(&["plugin", "pull", &name, "-o", "out.wasm"]).ok();
    assert_eq!(pulled.text().trim(), format!("{name}@{digest}"));
    assert_eq!(fs::read(shop.space.path("out.wasm")).expect("the component was written"), wasm);
    let listed = shop.space.kiln(&["plugin", "ls"]).ok();
    assert!(listed.text().contains(&format!("oci://{name}")), "{listed}");
    let listed = shop.space.kiln(&["plugin", "ls", "--format", "json"]).ok().json();
    let rows = listed.as_array().expect("a list of plugins");
    let row = rows.iter().find(|row| row["source"] == json!(format!("oci://{name}"))).expect("it is listed");
    assert_eq!((&row["manifest"], &row["digest"]), (&json!(digest), &json!(sha256(&wasm))));
    // An image it is not.
    let images = shop.space.kiln(&["image", "ls", "--all"]).ok();
    assert_eq!(images.text().lines().count(), 1, "{images}");
    shop.space.kiln(&["image", "inspect", &digest]).ends(1).says(&["no image"]);
}

#[test]
fn an_epoch_is_the_time_at_which_a_plugin_was_made() {
    let mut shop = Shop::open(None);
    let plugin = example();
    let without = shop.push(&plugin, "team/closure:1");
    shop.space.environment.push(("SOURCE_DATE_EPOCH".into(), "1000000000".into()));
    let with = shop.push(&plugin, "team/closure:2");
    assert_ne!(with, without);
    assert_eq!(shop.push(&plugin, "team/closure:3"), with);
    shop.space.environment[0].1 = "yesterday".into();
    let name = shop.name("team/closure:4");
    shop.space
        .kiln(&["plugin", "push", path(&plugin), &name])
        .ends(2)
        .says(&["SOURCE_DATE_EPOCH", "yesterday"]);
}

#[test]
fn a_plugin_in_a_registry_is_inspected_and_not_kept() {
    let shop = Shop::open(None);
    let digest = shop.push(&example(), "team/closure:1");
    let source = format!("oci://{}", shop.name("team/closure:1"));
    let inspected = shop.space.kiln(&["plugin", "inspect", &source]).ok();
    for text in ["instructions  ", "source        oci://", &digest] {
        assert!(inspected.text().contains(text), "{inspected}");
    }
    let inspected = shop.space.kiln(&["plugin", "inspect", "--format", "json", &source]).ok().json();
    assert_eq!(inspected["manifest"], json!(digest));
    let listed = shop.space.kiln(&["plugin", "ls"]).ok();
    assert!(!listed.text().contains("oci://"), "{listed}");
}

#[test]
fn names_of_pulled_plugins_are_removed_and_prune_takes_the_bytes() {
    let shop = Shop::open(None);
    let plugin = example();
    let digest = shop.push(&plugin, "team/closure:1");
    shop.push(&plugin, "team/closure:2");
    let pull =
        |tag: &str| shop.space.kiln(&["plugin", "pull", &shop.name(&format!("team/closure:{tag}"))]).ok();
    let blob =
        shop.space.store.join("blobs/sha256").join(&sha256(&fs::read(&plugin).expect("it is there"))[7..]);
    pull("1");
    pull("2");
    // What is named stays.
    shop.space.kiln(&["prune", "--force"]).ok();
    assert!(blob.exists());
    shop.space.kiln(&["plugin", "rm", &shop.name("team/closure:1")]).ok().says(&["team/closure:1"]);
    shop.space.kiln(&["prune", "--force"]).ok();
    assert!(blob.exists(), "another name is left");
    shop.space.kiln(&["plugin", "rm", &digest[7..20]]).ok().says(&["team/closure:2"]);
    shop.space.kiln(&["plugin", "rm", &digest]).ends(1).says(&["no plugin", "kiln plugin ls"]);
    shop.space.kiln(&["prune", "--force"]).ok();
    assert!(!blob.exists());
    pull("1");
    assert!(blob.exists());
    shop.space.kiln(&["prune", "--force", "--all"]).ok();
    assert!(!blob.exists());
}

#[test]
fn artifacts_in_the_layouts_of_other_tools_are_pulled() {
    let shop = Shop::open(None);
    let wasm = fs::read(example()).expect("the component is there");
    // As `oras push --artifact-type` writes it, and as tools did before there was a layout.
    let mut oras = manifest(
        descriptor("application/vnd.oci.empty.v1+json", b"{}"),
        &[descriptor("application/wasm", &wasm)],
    );
    oras["artifactType"] = json!("application/vnd.wasm.component.v1+wasm");
    let old = manifest(
        descriptor("application/vnd.wasm.config.v1+json", b"{}"),
        &[descriptor("application/vnd.wasm.content.layer.v1+wasm", &wasm)],
    );
    for (name, manifest) in [("it/oras:1", &oras), ("it/old:1", &old)] {
        let digest = shop.put(name, manifest, &[b"{}", &wasm]);
        let pulled = shop.space.kiln(&["plugin", "pull", "-o", "out.wasm", &shop.name(name)]).ok();
        assert!(pulled.text().contains(&digest), "{pulled}");
        assert_eq!(fs::read(shop.space.path("out.wasm")).expect("it was written"), wasm);
    }
}

#[test]
fn what_is_no_plugin_is_refused_for_what_it_is() {
    let shop = Shop::open(None);
    let wasm = fs::read(example()).expect("the component is there");
    let module = b"\0asm\x01\0\0\0".as_slice();
    let config = b"{}".as_slice();
    let wasm_config = || descriptor("application/vnd.wasm.config.v0+json", config);
    let image_config = br#"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}"#;
    let image = manifest(
        descriptor("application/vnd.oci.image.config.v1+json", image_config),
        &[descriptor("application/vnd.oci.image.layer.v1.tar", b"layer")],
    );
    let two = manifest(
        wasm_config(),
        &[descriptor("application/wasm", &wasm), descriptor("application/wasm", module)],
    );
    let text = manifest(wasm_config(), &[descriptor("text/plain", b"layer")]);
    let helm = manifest(
        descriptor("application/vnd.cncf.helm.config.v1+json", config),
        &[descriptor("application/vnd.cncf.helm.chart.content.v1.tar+gzip", b"layer")],
    );
    let core = manifest(wasm_config(), &[descriptor("application/wasm", module)]);
    for (name, manifest, texts) in [
        ("it/image:1", &image, ["container image", "BuildKit"]),
        ("it/two:1", &two, ["2 layers", "exactly one"]),
        ("it/text:1", &text, ["`text/plain`", "`application/wasm`"]),
        ("it/helm:1", &helm, ["helm", "another kind"]),
        ("it/module:1", &core, ["core WebAssembly module", "sha256:"]),
    ] {
        shop.put(name, manifest, &[config, image_config, b"layer", &wasm, module]);
        let name = shop.name(name);
        let ran = shop.space.kiln(&["plugin", "pull", &name]).ends(1);
        ran.says(&texts).says(&[&format!("oci://{name}")]);
    }
    let listed = shop.space.kiln(&["plugin", "ls"]).ok();
    assert!(!listed.text().contains("oci://"), "{listed}");
    // And what is no plugin is not published.
    fs::write(shop.space.path("module.wasm"), module).expect("a file is written");
    shop.space.kiln(&["plugin", "push", "module.wasm", &shop.name("it/x:1")]).ends(1).says(&["module.wasm"]);
    shop.space
        .kiln(&["plugin", "push", "not-there.wasm", &shop.name("it/x:1")])
        .ends(2)
        .says(&["not-there.wasm"]);
    shop.space.kiln(&["plugin", "pull", &shop.name("it/x:1")]).ends(1).says(&["it/x:1", "does not exist"]);
    shop.space.kiln(&["plugin", "pull", "oci://Not A Name"]).ends(1).says(&["Not A Name"]);
    let digest = sha256(b"other");
    let pinned = format!("{}@{digest}", shop.name("it/two"));
    shop.space.kiln(&["plugin", "pull", &pinned]).ends(1).says(&[&digest, "does not exist"]);
}

#[test]
fn a_component_that_is_too_large_is_not_sent() {
    let shop = Shop::open(None);
    let file = shop.space.path("large.wasm");
    let large = fs::File::create(&file).expect("a file is made");
    large.set_len((256 << 20) + 1).expect("a sparse file");
    drop(large);
    shop.space.kiln(&["plugin", "push", "large.wasm", &shop.name("it/large:1")]).ends(1).says(&["268435457"]);
}

#[test]
fn a_registry_that_knows_us_not_says_how_to_log_in() {
    let shop = Shop::open(Some(HTPASSWD));
    let name = shop.name("team/closure:1");
    let plugin = example();
    shop.space.kiln(&["plugin", "push", path(&plugin), &name]).ends(3).says(&["docker login", &name]);
    shop.space.kiln(&["plugin", "pull", &name]).ends(3).says(&["docker login"]);
    let docker = shop.space.path("home/.docker");
    fs::create_dir_all(&docker).expect("a directory is made");
    let auth =
        json!({ "auths": { format!("127.0.0.1:{}", shop.registry.port()): { "auth": "a2lsbjpzZWNyZXQ=" } } });
    fs::write(docker.join("config.json"), auth.to_string()).expect("credentials are written");
    shop.push(&plugin, "team/closure:1");
    shop.space.kiln(&["plugin", "pull", &name]).ok();
}

/// Signs `payload` as cosign does with a key, and puts it where cosign does: written by openssl and skopeo alone.
fn cosign(shop: &Shop, key: &str, rest: &str, digest: &str, payload: &str) {
    let file = |name: &str| shop.space.path(name).display().to_string();
    fs::write(file("payload"), payload).expect("the payload is written");
    let signature = shell(&format!(
        "openssl dgst -sha256 -sign '{}' '{}' | base64 -w0",
        file(&format!("{key}.key")),
        file("payload")
    ));
    let mut layer = descriptor("application/vnd.dev.cosign.simplesigning.v1+json", payload.as_bytes());
    layer["annotations"] = json!({ "dev.cosignproject.cosign/signature": signature });
    let config = json!({
        "architecture": "", "created": "0001-01-01T00:00:00Z", "os": "", "config": {},
        "history": [{ "created": "0001-01-01T00:00:00Z" }],
        "rootfs": { "type": "layers", "diff_ids": [sha256(payload.as_bytes())] },
    })
    .to_string();
    let signatures =
        manifest(descriptor("application/vnd.oci.image.config.v1+json", config.as_bytes()), &[layer]);
    let tag = format!("{rest}:{}.sig", digest.replace(':', "-"));
    shop.put(&tag, &signatures, &[config.as_bytes(), payload.as_bytes()]);
}

fn payload(digest: &str) -> String {
    format!(
        r#"{{"critical":{{"identity":{{"docker-reference":"example.com/x"}},"image":{{"docker-manifest-digest":"{digest}"}},"type":"cosign container image signature"}},"optional":null}}"#
    )
}

/// Makes `NAME.key` and `NAME.pub`.
fn new_key(shop: &Shop, name: &str) {
    let file = shop.space.path(name).display().to_string();
    shell(&format!(
        "openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out '{file}.key' 2>/dev/null
         openssl pkey -in '{file}.key' -pubout -out '{file}.pub'"
    ));
}

#[test]
fn plugins_that_have_to_be_signed_are_used_only_when_a_trusted_key_signed_them() {
    let shop = Shop::open(None);
    for key in ["ours", "theirs"] {
        new_key(&shop, key);
    }
    let digest = shop.push(&example(), "team/closure:1");
    let other = shop.push(&component("tests/fixtures/misbehaving"), "team/other:1");
    let name = shop.name("team/closure:1");
    let pull = || shop.space.kiln(&["plugin", "pull", &name]);
    let host = format!("127.0.0.1:{}", shop.registry.port());
    shop.configure(&format!("[trust]\nkeys = [\"ours.pub\"]\nrequire = [\"{host}/team/*\"]\n"));
    pull().ends(1).says(&["signature", "not signed", "ours.pub", &digest, &format!("{host}/team/*")]);
    cosign(&shop, "theirs", "team/closure", &digest, &payload(&digest));
    pull().ends(1).says(&["one signature", "none of the trusted keys", "ours.pub"]);
    cosign(&shop, "ours", "team/closure", &digest, &payload(&other));
    pull().ends(1).says(&["wrong", "another manifest", &other]);
    let listed = shop.space.kiln(&["plugin", "ls"]).ok();
    assert!(!listed.text().contains("oci://"), "{listed}");
    let inspected = shop.space.kiln(&["plugin", "inspect", &format!("oci://{name}")]).ok();
    inspected.says(&["note:", "another manifest"]);
    cosign(&shop, "ours", "team/closure", &digest, &payload(&digest));
    pull().ok();
    // Elsewhere nothing is asked for.
    shop.push(&example(), "free/closure:1");
    shop.space.kiln(&["plugin", "pull", &shop.name("free/closure:1")]).ok();
}

#[test]
fn what_kiln_signs_with_a_key_of_openssl_is_verified() {
    let shop = Shop::open(None);
    new_key(&shop, "ours");
    let digest = shop.push(&example(), "team/closure:1");
    let name = shop.name("team/closure:1");
    // Keys and nothing else: everything needs a signature.
    shop.configure("[trust]\nkeys = [\"ours.pub\"]\n");
    shop.space.kiln(&["plugin", "pull", &name]).ends(1).says(&["not signed", "`*`"]);
    let signed = shop.space.kiln(&["plugin", "sign", "--key", "ours.key", &name]).ok().says(&[&digest]);
    let tag = shop.name(&format!("team/closure:{}.sig", digest.replace(':', "-")));
    assert_eq!(signed.text().trim(), tag);
    shop.space.kiln(&["plugin", "pull", &name]).ok();
    // Checked by openssl as well.
    let raw = shell(&format!("skopeo inspect --raw --tls-verify=false 'docker://{tag}'"));
    let raw: Value = serde_json::from_str(&raw).expect("a manifest is JSON");
    let signature = &raw["layers"][0]["annotations"]["dev.cosignproject.cosign/signature"];
    let place = shop.space.path("x").display().to_string();
    shell(&format!(
        "skopeo copy -q --src-tls-verify=false 'docker://{tag}' 'oci:{place}:x'
         echo '{}' | base64 -d > '{place}.sig'
         openssl dgst -sha256 -verify '{}' -signature '{place}.sig' '{place}/blobs/sha256/{}'",
        signature.as_str().expect("a signature is text"),
        shop.space.path("ours.pub").display(),
        &raw["layers"][0]["digest"].as_str().expect("a digest is text")[7..],
    ));
    shop.space
        .kiln(&["plugin", "sign", "--key", "ours.pub", &name])
        .ends(3)
        .says(&["ours.pub", "PRIVATE KEY"]);
    shop.space.kiln(&["plugin", "sign", "--key", "not-there", &name]).ends(2).says(&["not-there"]);
}

#[test]
fn keys_that_cannot_be_used_are_named() {
    let shop = Shop::open(None);
    let name = shop.name("team/closure:1");
    shop.push(&example(), "team/closure:1");
    let config = fs::read_to_string(&shop.space.config).expect("there is a configuration");
    for (trust, texts) in [
        ("keys = [\"not-there.pub\"]", ["not-there.pub", "No such file"]),
        ("keys = [\"kiln-config.toml\"]", ["kiln-config.toml", "`PUBLIC KEY`"]),
        ("require = [\"*\"]", ["names no keys", "`keys`"]),
        ("key = [\"x\"]", ["unknown field", "keys"]),
    ] {
        fs::write(&shop.space.config, format!("{config}[trust]\n{trust}\n")).expect("it is written");
        let ran = shop.space.kiln(&["plugin", "pull", &name]);
        assert!(matches!(ran.status, 1 | 3), "{ran}");
        ran.says(&texts);
    }
}
