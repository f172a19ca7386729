//! Against Debian's `docker-registry` on the loopback, and against a server that does not keep the rules.

mod fake;
mod real;
mod signatures;

use std::sync::Arc;
use std::time::Duration;

use kiln_core::{Cancel, ImageRef};

use super::*;
use crate::document::{Descriptor, Index, Manifest, media_type};

/// A client of plain-HTTP hosts that does not wait long.
fn client(hosts: &[(&str, HostConfig)], credentials: Credentials) -> Registry {
    let hosts = hosts.iter().map(|(name, host)| ((*name).to_owned(), host.clone())).collect();
    let patience = Patience { connect: Duration::from_secs(5), stall: Duration::from_secs(2) };
    Registry::new(RegistryConfig { hosts, patience }, credentials, Arc::new(Cancel::default()))
}

fn plain() -> HostConfig {
    HostConfig { plain_http: true, ..HostConfig::default() }
}

fn reference(text: &str) -> ImageRef {
    ImageRef::parse(text).unwrap()
}

/// A blob of that many bytes, none of them like the next.
fn bytes(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at * at / 7 % 251) as u8).collect()
}

/// A minimal image: configuration and one "layer", and the manifest over them.
struct Sample {
    config: Vec<u8>,
    layer: Vec<u8>,
    manifest: Vec<u8>,
}

impl Sample {
    fn new(layer_bytes: usize) -> Self {
        let config =
            br#"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}"#.to_vec();
        let layer = bytes(layer_bytes);
        let manifest = Manifest::new(
            Descriptor::of(media_type::OCI_CONFIG, &config),
            vec![Descriptor::of(media_type::OCI_LAYER, &layer)],
        );
        Self { config, layer, manifest: manifest.to_json() }
    }

    fn layer_descriptor(&self) -> Descriptor {
        Descriptor::of(media_type::OCI_LAYER, &self.layer)
    }

    fn config_descriptor(&self) -> Descriptor {
        Descriptor::of(media_type::OCI_CONFIG, &self.config)
    }

    fn push(&self, registry: &Registry, to: &ImageRef) {
        for (descriptor, bytes) in
            [(self.config_descriptor(), &self.config), (self.layer_descriptor(), &self.layer)]
        {
            let mut open = || Ok(Box::new(std::io::Cursor::new(bytes.clone())) as Box<dyn std::io::Read>);
            registry.push_blob(to, &descriptor, None, &mut open, &mut |_| {}).unwrap();
        }
        registry.push_manifest(to, media_type::OCI_MANIFEST, &self.manifest).unwrap();
    }
}
