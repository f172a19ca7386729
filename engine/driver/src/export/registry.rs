//! `type=registry`: layers, configuration and manifest are sent first, the name is set last.

use kiln_core::{Event, ImageRef};
use kiln_oci::registry::Pushed;

use super::image::ImageSet;
use crate::error::BuildError;
use crate::outcome::{Outcome, Written};
use crate::registries::FetchError;
use crate::request::OutputSpec;
use crate::session::Session;

pub(super) fn push(
    session: &Session<'_>,
    set: &ImageSet,
    output: &OutputSpec,
    outcome: &mut Outcome,
) -> Result<(), BuildError> {
    let names: Vec<&ImageRef> = output.names.iter().chain(&session.request.tags).collect();
    if names.is_empty() {
        return Err(BuildError::plain(
            "there is no name to push the image under",
            "give one with --tag or with --output type=registry,name=…",
        ));
    }
    let registry = session.driver.registries.client()?;
    for name in names {
        let attested = || set.images.iter().filter_map(|image| image.attestation.as_ref());
        let blobs = set.images.iter().flat_map(|image| image.layers.iter().chain([&image.config]));
        for blob in blobs.chain(attested().flat_map(|it| it.statements.iter().chain([&it.config]))) {
            let what = format!("pushing {} {}", name.familiar(), blob.digest.0.short());
            session.forms.task(&what, |id| {
                let mut open = || {
                    let file = session.forms.open_blob(&blob.digest).map_err(std::io::Error::other)?;
                    Ok(Box::new(file) as Box<dyn std::io::Read>)
                };
                let pushed = registry.push_blob(name, blob, None, &mut open, &mut |current| {
                    session.events.emit(Event::Progress { id, current, total: blob.size });
                });
                pushed.map(|_: Pushed| ()).map_err(|error| BuildError::from(FetchError::from(error)))
            })?;
        }
        let manifests = set.images.iter().map(|image| &image.manifest);
        for document in manifests.chain(attested().map(|it| &it.manifest)).chain([&set.top]) {
            let bytes = session.driver.document(&document.digest)?;
            // All but the last go in by digest alone, so that the name never stands for half of an index.
            let at = match document.digest == set.top.digest {
                true => name.clone(),
                false => ImageRef { tag: None, ..name.clone() },
            };
            registry
                .push_manifest(&at, &document.media_type, &bytes)
                .map_err(|error| BuildError::from(FetchError::from(error)))?;
        }
        outcome.written.push(Written(format!("pushed {}", name.familiar())));
    }
    Ok(())
}
