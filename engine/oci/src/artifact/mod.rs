//! WebAssembly components as artifacts of registries: the documents around one, and signatures over them.
//!
//! The layout is that of the CNCF's Wasm working group ("Wasm OCI Artifact layout"): an image manifest, a configuration
//! that repeats what the component imports and exports, and the component as the one layer. Tools wrote others before,
//! and some registries take no configuration that they do not know, so more is read than is written.

pub(crate) mod key;
mod signature;

use kiln_core::tree::Time;
use serde::Serialize;

use crate::document::{
    Annotations, Descriptor, DocumentError, Manifest, format_time, media_type, media_type_of, to_json,
};

pub use key::{KeyError, PublicKey, SigningKey, SigningKeyError};
pub use signature::{
    BUNDLE_PREFIX, COSIGN_SIGNATURE, Signed, SignedBytes, judge_bundle, judge_simple, simple_layer,
    simple_payload, simple_signatures,
};

pub const WASM_CONFIG: &str = "application/vnd.wasm.config.v0+json";
/// Of the tools before the CNCF's layout.
pub const WASM_CONFIG_1: &str = "application/vnd.wasm.config.v1+json";
pub const WASM_LAYER: &str = "application/wasm";
/// Of the tools before the CNCF's layout.
pub const WASM_LAYER_1: &str = "application/vnd.wasm.content.layer.v1+wasm";

/// A component of a registry may have this many bytes; one with an interpreter inside has some 20 million.
pub const MAX_WASM_BYTES: u64 = 256 << 20;

/// The manifest of an artifact that is a component.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WasmManifest {
    pub component: Descriptor,
    pub annotations: Annotations,
}

/// Why what a name stands for is no component.
#[derive(Debug, thiserror::Error)]
pub enum ArtifactError {
    #[error(
        "it is a container image, not a WebAssembly component; BuildKit's frontends are such images, and kiln cannot \
         run them"
    )]
    ContainerImage,
    #[error("it is an artifact of another kind, `{kind}`, not a WebAssembly component")]
    OtherKind { kind: String },
    #[error("it has {count} layers, and a WebAssembly component is exactly one")]
    Layers { count: usize },
    #[error("its layer has the type `{media_type}`, and that of a WebAssembly component is `{WASM_LAYER}`")]
    Layer { media_type: String },
    #[error("it has {size} bytes, more than the {MAX_WASM_BYTES} that a component may have")]
    TooLarge { size: u64 },
    #[error("its manifest is damaged")]
    Document(#[from] DocumentError),
}

impl WasmManifest {
    /// `said` is the media type that the registry gave.
    ///
    /// The layer decides: whatever its configuration is, a manifest with one layer of WebAssembly is a component.
    ///
    /// # Errors
    ///
    /// See [`ArtifactError`]. The images of an index are container images.
    pub fn parse(bytes: &[u8], said: Option<&str>) -> Result<Self, ArtifactError> {
        if media_type::is_index(&media_type_of(bytes, said)?) {
            return Err(ArtifactError::ContainerImage);
        }
        let manifest = Manifest::parse(bytes, said)?;
        let is_wasm = |layer: &&Descriptor| [WASM_LAYER, WASM_LAYER_1].contains(&&*layer.media_type);
        if !manifest.layers.iter().any(|layer| is_wasm(&layer)) {
            return Err(other_kind(&manifest));
        }
        match <[Descriptor; 1]>::try_from(manifest.layers) {
            Ok([component]) if component.size > MAX_WASM_BYTES => {
                Err(ArtifactError::TooLarge { size: component.size })
            }
            Ok([component]) => Ok(Self { component, annotations: manifest.annotations }),
            Err(layers) => Err(ArtifactError::Layers { count: layers.len() }),
        }
    }
}

/// Why a manifest without a layer of WebAssembly is refused.
fn other_kind(manifest: &Manifest) -> ArtifactError {
    let config = &*manifest.config.media_type;
    if [WASM_CONFIG, WASM_CONFIG_1].contains(&config) {
        return match &manifest.layers[..] {
            [layer] => ArtifactError::Layer { media_type: layer.media_type.clone() },
            layers => ArtifactError::Layers { count: layers.len() },
        };
    }
    match &manifest.artifact_type {
        None if [media_type::OCI_CONFIG, media_type::DOCKER_CONFIG].contains(&config) => {
            ArtifactError::ContainerImage
        }
        kind => ArtifactError::OtherKind { kind: kind.as_deref().unwrap_or(config).to_owned() },
    }
}

/// What is said of a component that is published.
#[derive(Clone, Debug)]
pub struct NewArtifact<'a> {
    pub wasm: &'a [u8],
    /// What the tools that pull it call the file.
    pub file_name: &'a str,
    pub created: Time,
    /// Interfaces, in the order of the component.
    pub imports: &'a [String],
    pub exports: &'a [String],
    pub annotations: Annotations,
}

/// The documents of an artifact, ready to be sent: equal input gives equal bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArtifactDocuments {
    pub config: Vec<u8>,
    pub manifest: Manifest,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ConfigJson<'a> {
    created: String,
    architecture: &'static str,
    /// The layout has no word for a component that imports nothing of WASI; this one means "a component".
    os: &'static str,
    layer_digests: [String; 1],
    component: ComponentJson<'a>,
}

#[derive(Serialize)]
struct ComponentJson<'a> {
    exports: &'a [String],
    imports: &'a [String],
}

impl NewArtifact<'_> {
    pub fn documents(&self) -> ArtifactDocuments {
        let layer = Descriptor::of(WASM_LAYER, self.wasm)
            .with_annotation("org.opencontainers.image.title", self.file_name);
        let config = to_json(&ConfigJson {
            created: format_time(self.created),
            architecture: "wasm",
            os: "wasip2",
            layer_digests: [layer.digest.to_string()],
            component: ComponentJson { exports: self.exports, imports: self.imports },
        });
        let mut manifest = Manifest::new(Descriptor::of(WASM_CONFIG, &config), vec![layer]);
        manifest.annotations.clone_from(&self.annotations);
        ArtifactDocuments { config, manifest }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> ArtifactDocuments {
        let new = NewArtifact {
            wasm: b"\0asm",
            file_name: "apt.wasm",
            created: Time { seconds: 0, nanoseconds: 0 },
            imports: &["kiln:plugin/trees@0.1.0".to_owned()],
            exports: &["kiln:plugin/describe@0.1.0".to_owned()],
            annotations: Annotations::from([("org.opencontainers.image.version".into(), "1.0.0".into())]),
        };
        new.documents()
    }

    fn parse(manifest: &Manifest) -> Result<WasmManifest, ArtifactError> {
        WasmManifest::parse(&manifest.to_json(), None)
    }

    #[test]
    fn the_documents_are_those_of_the_layout() {
        let documents = sample();
        let config: serde_json::Value = serde_json::from_slice(&documents.config).unwrap();
        let digest = documents.manifest.layers[0].digest.to_string();
        assert_eq!(
            config,
            serde_json::json!({
                "created": "1970-01-01T00:00:00Z", "architecture": "wasm", "os": "wasip2", "layerDigests": [digest],
                "component": { "exports": ["kiln:plugin/describe@0.1.0"], "imports": ["kiln:plugin/trees@0.1.0"] },
            })
        );
        assert_eq!(documents.manifest.config.media_type, WASM_CONFIG);
        assert_eq!(sample(), documents);
        let read = parse(&documents.manifest).unwrap();
        assert_eq!(read.component, documents.manifest.layers[0]);
        assert_eq!(read.annotations["org.opencontainers.image.version"], "1.0.0");
    }

    #[test]
    fn layouts_of_other_tools_are_read() {
        for (config, layer) in [
            (WASM_CONFIG_1, WASM_LAYER_1),
            (WASM_CONFIG_1, WASM_LAYER),
            (media_type::OCI_EMPTY, WASM_LAYER),
            (media_type::OCI_CONFIG, WASM_LAYER),
        ] {
            let manifest =
                Manifest::new(Descriptor::of(config, b"{}"), vec![Descriptor::of(layer, b"\0asm")]);
            assert_eq!(parse(&manifest).unwrap().component.size, 4, "{config} {layer}");
        }
    }

    #[test]
    fn what_is_no_component_is_refused_for_what_it_is() {
        let refused = |change: &dyn Fn(&mut Manifest)| {
            let mut manifest = sample().manifest;
            change(&mut manifest);
            parse(&manifest).unwrap_err().to_string()
        };
        let text = refused(&|manifest| {
            manifest.config.media_type = media_type::OCI_CONFIG.into();
            manifest.layers[0].media_type = media_type::OCI_LAYER_GZIP.into();
        });
        assert!(text.contains("BuildKit's frontends"), "{text}");
        let text = refused(&|manifest| {
            manifest.config.media_type = "application/vnd.cncf.helm.config.v1+json".into();
            manifest.layers[0].media_type = "application/x".into();
        });
        assert!(text.contains("helm"), "{text}");
        let text = refused(&|manifest| manifest.layers.push(manifest.layers[0].clone()));
        assert!(text.contains("2 layers"), "{text}");
        let text = refused(&|manifest| manifest.layers.clear());
        assert!(text.contains("0 layers"), "{text}");
        let text = refused(&|manifest| manifest.layers[0].media_type = "application/x".into());
        assert!(text.contains("`application/x`"), "{text}");
        let text = refused(&|manifest| manifest.layers[0].size = MAX_WASM_BYTES + 1);
        assert!(text.contains("268435457 bytes"), "{text}");
        let index = crate::document::Index::new(vec![sample().manifest.descriptor()]);
        let error = WasmManifest::parse(&index.to_json(), None).unwrap_err();
        assert!(matches!(error, ArtifactError::ContainerImage), "{error}");
        assert!(WasmManifest::parse(b"<html>", None).is_err());
    }
}
