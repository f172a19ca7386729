//! Image manifests: which configuration and which layers (image-spec 1.1, manifest.md; Docker's schema 2).

use serde::{Deserialize, Serialize};

use super::{Annotations, Descriptor, DescriptorJson, DocumentError, check_size, media_type, to_json};

/// One image for one platform. Of a manifest that was pulled keep the bytes too: written again, it may differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    pub media_type: String,
    pub config: Descriptor,
    /// Base first.
    pub layers: Vec<Descriptor>,
    pub annotations: Annotations,
    /// Set when it is something else than an image.
    pub artifact_type: Option<String>,
    /// The manifest that this one is about.
    pub subject: Option<Descriptor>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ManifestJson {
    schema_version: u32,
    #[serde(default)]
    media_type: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    artifact_type: Option<String>,
    config: DescriptorJson,
    #[serde(default)]
    layers: Option<Vec<DescriptorJson>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    subject: Option<DescriptorJson>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    annotations: Option<Annotations>,
}

impl Manifest {
    /// Of an image, in OCI's form.
    pub fn new(config: Descriptor, layers: Vec<Descriptor>) -> Self {
        Self {
            media_type: media_type::OCI_MANIFEST.to_owned(),
            config,
            layers,
            annotations: Annotations::new(),
            artifact_type: None,
            subject: None,
        }
    }

    /// `said` is the media type that the descriptor or the server gave, for documents that do not say it themselves.
    pub fn parse(bytes: &[u8], said: Option<&str>) -> Result<Self, DocumentError> {
        check_size(bytes)?;
        let media_type = media_type_of(bytes, said)?;
        if !media_type::is_manifest(&media_type) {
            return Err(DocumentError::MediaType { media_type, expected: "image manifest" });
        }
        let json: ManifestJson =
            serde_json::from_slice(bytes).map_err(|source| DocumentError::Json { source })?;
        let layers = json.layers.unwrap_or_default();
        Ok(Self {
            media_type,
            config: json.config.try_into()?,
            layers: layers.into_iter().map(Descriptor::try_from).collect::<Result<_, _>>()?,
            annotations: json.annotations.unwrap_or_default(),
            artifact_type: json.artifact_type,
            subject: json.subject.map(Descriptor::try_from).transpose()?,
        })
    }

    /// Refuses what is no image that can be run: an artifact, or layers that are no tar.
    pub fn check_is_image(&self) -> Result<(), DocumentError> {
        let configs = [media_type::OCI_CONFIG, media_type::DOCKER_CONFIG];
        if !configs.contains(&&*self.config.media_type) {
            return Err(DocumentError::MediaType {
                media_type: self.artifact_type.as_ref().unwrap_or(&self.config.media_type).clone(),
                expected: "container image",
            });
        }
        match self.layers.iter().find(|layer| !media_type::is_layer(&layer.media_type)) {
            Some(layer) => Err(DocumentError::MediaType {
                media_type: layer.media_type.clone(),
                expected: "layer that can be unpacked",
            }),
            None => Ok(()),
        }
    }

    pub fn to_json(&self) -> Vec<u8> {
        to_json(&ManifestJson {
            schema_version: 2,
            media_type: Some(self.media_type.clone()),
            artifact_type: self.artifact_type.clone(),
            config: (&self.config).into(),
            layers: Some(self.layers.iter().map(DescriptorJson::from).collect()),
            subject: self.subject.as_ref().map(DescriptorJson::from),
            annotations: Some(self.annotations.clone()).filter(|all| !all.is_empty()),
        })
    }

    /// Of the bytes that [`Manifest::to_json`] gives.
    pub fn descriptor(&self) -> Descriptor {
        Descriptor::of(&*self.media_type, &self.to_json())
    }
}

/// What a document says it is, else what it was said to be, else what it looks like. If the two disagree, one of them
/// could make a reader see layers where another sees manifests; so that is an error (image-spec 1.1, manifest.md,
/// "mediaType").
pub fn media_type_of(bytes: &[u8], said: Option<&str>) -> Result<String, DocumentError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Outline {
        #[serde(default)]
        media_type: Option<String>,
        #[serde(default)]
        schema_version: Option<u32>,
        #[serde(default)]
        config: Option<serde::de::IgnoredAny>,
        #[serde(default)]
        layers: Option<serde::de::IgnoredAny>,
        #[serde(default)]
        manifests: Option<serde::de::IgnoredAny>,
    }
    let outline: Outline = serde_json::from_slice(bytes).map_err(|source| DocumentError::Json { source })?;
    if outline.manifests.is_some() && (outline.layers.is_some() || outline.config.is_some()) {
        return Err(DocumentError::Value {
            field: "manifests",
            expected: "part of a document that has `config` or `layers`",
            value: "[…]".to_owned(),
        });
    }
    let stated = outline.media_type.filter(|stated| !stated.is_empty());
    let said = said.filter(|said| media_type::is_index(said) || media_type::is_manifest(said));
    let media_type = match (stated, said) {
        (Some(stated), Some(said)) if stated != said => {
            return Err(DocumentError::Value {
                field: "mediaType",
                expected: "type that its descriptor or server agrees with",
                value: format!("{stated}` against `{said}"),
            });
        }
        (Some(stated), _) => stated,
        (None, Some(said)) => said.to_owned(),
        (None, None) if outline.schema_version == Some(1) => media_type::DOCKER_SCHEMA1.to_owned(),
        (None, None) if outline.manifests.is_some() => media_type::OCI_INDEX.to_owned(),
        (None, None) => media_type::OCI_MANIFEST.to_owned(),
    };
    Ok(media_type)
}

#[cfg(test)]
mod tests {
    use kiln_core::digest::{BlobDigest, Digest};

    use super::*;

    fn blob(content: &[u8], media_type: &str) -> Descriptor {
        Descriptor::of(media_type, content)
    }

    fn sample() -> Manifest {
        let layers = vec![
            blob(b"1", media_type::OCI_LAYER_GZIP),
            blob(b"22", media_type::OCI_LAYER).with_annotation("k", "v"),
        ];
        let mut manifest = Manifest::new(blob(b"{}", media_type::OCI_CONFIG), layers);
        manifest.annotations.insert("b".to_owned(), "2".to_owned());
        manifest.annotations.insert("a".to_owned(), "1".to_owned());
        manifest
    }

    #[test]
    fn a_manifest_is_written_in_one_way_and_read_back() {
        let manifest = sample();
        let json = String::from_utf8(manifest.to_json()).unwrap();
        let one = Digest::of(b"1");
        assert!(json.starts_with(
            r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"#
        ));
        assert!(json.contains(&format!(r#""digest":"{one}","size":1}}"#)), "{json}");
        assert!(json.ends_with(r#""annotations":{"a":"1","b":"2"}}"#), "{json}");
        assert_eq!(Manifest::parse(json.as_bytes(), None).unwrap(), manifest);
        assert_eq!(manifest.descriptor().digest, BlobDigest(Digest::of(json.as_bytes())));
        manifest.check_is_image().unwrap();
    }

    #[test]
    fn docker_manifests_are_read() {
        let digest = Digest::of(b"x");
        let text = format!(
            r#"{{"schemaVersion":2,"mediaType":"{}","config":{{"mediaType":"{}","size":7,"digest":"{digest}"}},
            "layers":[{{"mediaType":"{}","size":9,"digest":"{digest}","urls":["http://x"]}}]}}"#,
            media_type::DOCKER_MANIFEST,
            media_type::DOCKER_CONFIG,
            media_type::DOCKER_LAYER_GZIP,
        );
        let manifest = Manifest::parse(text.as_bytes(), Some(media_type::DOCKER_MANIFEST)).unwrap();
        assert_eq!(manifest.layers[0].size, 9);
        manifest.check_is_image().unwrap();
    }

    #[test]
    fn a_document_that_is_two_things_at_once_is_refused() {
        let mut json: serde_json::Value = serde_json::from_slice(&sample().to_json()).unwrap();
        assert!(Manifest::parse(json.to_string().as_bytes(), Some(media_type::DOCKER_MANIFEST)).is_err());
        json["manifests"] = serde_json::json!([]);
        assert!(Manifest::parse(json.to_string().as_bytes(), None).is_err());
    }

    #[test]
    fn other_documents_are_refused_by_what_they_are() {
        let schema1 = br#"{"schemaVersion":1,"name":"x","fsLayers":[]}"#;
        let error = Manifest::parse(schema1, None).unwrap_err().to_string();
        assert!(error.contains("before 2016"), "{error}");
        let mut artifact = sample();
        artifact.config.media_type = "application/vnd.cncf.helm.config.v1+json".to_owned();
        let error = artifact.check_is_image().unwrap_err().to_string();
        assert!(error.contains("helm"), "{error}");
        assert!(Manifest::parse(b"<html>", None).is_err());
        assert!(
            Manifest::parse(br#"{"schemaVersion":2,"config":{"digest":"sha512:x","size":1}}"#, None).is_err()
        );
    }
}
