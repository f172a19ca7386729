//! Image indexes: one name, several images (image-spec 1.1, image-index.md; Docker's manifest lists).

use kiln_core::Platform;
use serde::{Deserialize, Serialize};

use super::manifest::media_type_of;
use super::{Annotations, Descriptor, DescriptorJson, DocumentError, check_size, media_type, to_json};

/// Of an index that was pulled keep the bytes too: written again, it may differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Index {
    pub media_type: String,
    pub manifests: Vec<Descriptor>,
    pub annotations: Annotations,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct IndexJson {
    schema_version: u32,
    #[serde(default)]
    media_type: Option<String>,
    #[serde(default)]
    manifests: Option<Vec<DescriptorJson>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    annotations: Option<Annotations>,
}

impl Index {
    /// In OCI's form.
    pub fn new(manifests: Vec<Descriptor>) -> Self {
        Self { media_type: media_type::OCI_INDEX.to_owned(), manifests, annotations: Annotations::new() }
    }

    /// `said` is the media type that the descriptor or the server gave, for documents that do not say it themselves.
    pub fn parse(bytes: &[u8], said: Option<&str>) -> Result<Self, DocumentError> {
        check_size(bytes)?;
        let media_type = media_type_of(bytes, said)?;
        if !media_type::is_index(&media_type) {
            return Err(DocumentError::MediaType { media_type, expected: "image index" });
        }
        let json: IndexJson =
            serde_json::from_slice(bytes).map_err(|source| DocumentError::Json { source })?;
        let manifests = json.manifests.unwrap_or_default();
        Ok(Self {
            media_type,
            manifests: manifests.into_iter().map(Descriptor::try_from).collect::<Result<_, _>>()?,
            annotations: json.annotations.unwrap_or_default(),
        })
    }

    pub fn to_json(&self) -> Vec<u8> {
        to_json(&IndexJson {
            schema_version: 2,
            media_type: Some(self.media_type.clone()),
            manifests: Some(self.manifests.iter().map(DescriptorJson::from).collect()),
            annotations: Some(self.annotations.clone()).filter(|all| !all.is_empty()),
        })
    }

    /// Of the bytes that [`Index::to_json`] gives.
    pub fn descriptor(&self) -> Descriptor {
        Descriptor::of(&*self.media_type, &self.to_json())
    }

    /// The image to run where `wanted` is asked for: one for that very platform, else one for an older variant of the
    /// same processor (the newest of them), else one that names no variant. An entry without a platform serves if it
    /// is the only image. Attestations are never chosen.
    pub fn select(&self, wanted: &Platform) -> Option<&Descriptor> {
        let images = || self.images();
        let best = images()
            .filter_map(|entry| Some((fit(entry.platform.as_ref()?, wanted)?, entry)))
            // `max_by_key` takes the last of equals; the first is what other programs take.
            .rev()
            .max_by_key(|(fit, _)| *fit);
        let lone = || {
            let mut all = images();
            all.next().filter(|entry| entry.platform.is_none() && all.next().is_none())
        };
        best.map(|(_, entry)| entry).or_else(lone)
    }

    /// Adds an entry; one that had its name (as [`super::REF_NAME`] or [`super::CONTAINERD_NAME`]) loses it to the new
    /// one, and one that is the same image without a name goes.
    pub fn put(&mut self, entry: Descriptor) {
        let name = |entry: &Descriptor| {
            [super::CONTAINERD_NAME, super::REF_NAME].map(|key| entry.annotations.get(key).cloned())
        };
        let new = name(&entry);
        self.manifests.retain(|old| {
            let old_name = name(old);
            let is_nameless = old_name.iter().all(Option::is_none);
            old_name != new && !(is_nameless && old.digest == entry.digest)
        });
        self.manifests.push(entry);
    }

    /// The platforms that there are images for, as text for people.
    pub fn platforms(&self) -> Vec<String> {
        let mut all: Vec<String> =
            self.images().filter_map(|entry| entry.platform.as_ref()).map(Platform::to_string).collect();
        all.sort();
        all.dedup();
        all
    }

    /// Entries that are images or indexes of images.
    pub fn images(&self) -> impl DoubleEndedIterator<Item = &Descriptor> {
        self.manifests.iter().filter(|entry| {
            let kind = &entry.media_type;
            !entry.is_attestation()
                && entry.artifact_type.is_none()
                && (kind.is_empty() || media_type::is_manifest(kind) || media_type::is_index(kind))
        })
    }
}

/// How well an image for `has` serves; more is better, none is not at all.
fn fit(has: &Platform, wanted: &Platform) -> Option<u32> {
    if has.os != wanted.os || has.arch != wanted.arch {
        return None;
    }
    let same_system = u32::from(has.os_version == wanted.os_version);
    if has.variant == wanted.variant {
        return Some(2000 + same_system);
    }
    // `v7` runs what was made for `v6`, not the other way about. 64-bit ARM is `v8` where it is not said, and x86-64
    // is `v1`.
    let base = match wanted.arch.as_str() {
        "arm64" => 8,
        "amd64" => 1,
        _ => 0,
    };
    let level = |variant: &str| match variant {
        "" => Some(base),
        _ => variant.strip_prefix('v')?.parse::<u32>().ok(),
    };
    match (level(&has.variant), level(&wanted.variant)) {
        (Some(has), Some(wanted)) if has <= wanted => Some(2 * has.min(900) + same_system),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::REFERENCE_TYPE;
    use super::*;

    fn index(platforms: &[&str]) -> Index {
        let entry = |platform: &&str| {
            let descriptor = Descriptor::of(media_type::OCI_MANIFEST, platform.as_bytes());
            match *platform {
                "" => descriptor,
                "attestation" => descriptor
                    .with_platform(Platform::new("unknown", "unknown", ""))
                    .with_annotation(REFERENCE_TYPE, "attestation-manifest"),
                other => descriptor.with_platform(Platform::parse(other).unwrap()),
            }
        };
        Index::new(platforms.iter().map(entry).collect())
    }

    fn check(platforms: &[&str], wanted: &str, expected: Option<&str>) {
        let index = index(platforms);
        let found = index.select(&Platform::parse(wanted).unwrap());
        let expected = expected.map(|text| Descriptor::of("", text.as_bytes()).digest);
        assert_eq!(found.map(|entry| entry.digest), expected, "{wanted} of {platforms:?}");
    }

    #[test]
    fn the_image_for_the_platform_is_chosen() {
        let usual =
            ["attestation", "linux/arm64", "linux/amd64", "linux/arm/v6", "linux/arm/v7", "linux/386"];
        check(&usual, "linux/amd64", Some("linux/amd64"));
        check(&usual, "linux/arm64/v8", Some("linux/arm64"));
        check(&usual, "linux/arm/v7", Some("linux/arm/v7"));
        check(&usual, "linux/arm/v6", Some("linux/arm/v6"));
        check(&usual, "linux/arm/v5", None);
        check(&usual, "linux/riscv64", None);
        check(&usual, "windows/amd64", None);
    }

    #[test]
    fn an_older_variant_serves_where_the_wanted_one_is_missing() {
        check(&["linux/arm/v5", "linux/arm/v6"], "linux/arm/v7", Some("linux/arm/v6"));
        check(&["linux/amd64", "linux/amd64/v2", "linux/amd64/v4"], "linux/amd64/v3", Some("linux/amd64/v2"));
        check(&["linux/amd64/v2"], "linux/amd64", None);
        check(&["linux/arm64"], "linux/arm64/v9", Some("linux/arm64"));
    }

    #[test]
    fn a_lone_image_needs_no_platform_and_an_attestation_is_no_image() {
        check(&["", "attestation"], "linux/amd64", Some(""));
        check(&["", ""], "linux/amd64", None);
        check(&["attestation"], "linux/amd64", None);
        assert_eq!(
            index(&["linux/arm64", "attestation", "linux/amd64"]).platforms(),
            ["linux/amd64", "linux/arm64"]
        );
    }

    #[test]
    fn a_new_image_takes_over_its_name() {
        let entry = |content: &[u8]| Descriptor::of(media_type::OCI_MANIFEST, content);
        let named = |content, name: &str| entry(content).with_annotation(super::super::REF_NAME, name);
        let mut index = Index::new(vec![named(b"old", "a"), named(b"other", "b"), entry(b"new")]);
        index.put(named(b"new", "a"));
        assert_eq!(index.manifests, [named(b"other", "b"), named(b"new", "a")]);
    }

    #[test]
    fn an_index_is_written_in_one_way_and_read_back() {
        let index = index(&["linux/arm/v7", "attestation"]);
        let json = index.to_json();
        assert_eq!(Index::parse(&json, Some(media_type::OCI_INDEX)).unwrap(), index);
        let text = String::from_utf8(json).unwrap();
        assert!(text.contains(r#""platform":{"architecture":"arm","os":"linux","variant":"v7"}"#), "{text}");
    }

    #[test]
    fn dockers_lists_are_indexes_and_manifests_are_not() {
        let list = format!(
            r#"{{"schemaVersion":2,"mediaType":"{}","manifests":[{{"mediaType":"{}","size":1,"digest":"{}",
            "platform":{{"architecture":"amd64","os":"linux"}}}}]}}"#,
            media_type::DOCKER_LIST,
            media_type::DOCKER_MANIFEST,
            kiln_core::Digest::of(b"")
        );
        let index = Index::parse(list.as_bytes(), None).unwrap();
        assert!(index.select(&Platform::new("linux", "amd64", "")).is_some());
        let config = Descriptor::of(media_type::OCI_CONFIG, b"{}");
        let manifest = super::super::Manifest::new(config, Vec::new()).to_json();
        assert!(matches!(Index::parse(&manifest, None), Err(DocumentError::MediaType { .. })));
    }
}
