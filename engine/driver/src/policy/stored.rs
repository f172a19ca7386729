//! Images of the store that get a name or leave it: judged at point 6 by what was written of them when they were made.

use kiln_core::{BlobDigest, Cancel, Digest, EventSink, ImageRef};
use kiln_plugin::{ExportFacts, HistoryLine, ImageFacts, LayerInfo, Point};

use super::weigh::Weighed;
use crate::Driver;
use crate::error::BuildError;
use crate::images::StoredImage;
use crate::outcome::SourceTexts;
use crate::request::BuildRequest;
use crate::session::Session;

/// Where images of the store are to go.
pub(crate) struct Move<'a> {
    /// As [`ExportFacts`] has it.
    pub(crate) kind: &'static str,
    pub(crate) destination: String,
    pub(crate) names: Vec<ImageRef>,
    /// Manifests and indexes of the store.
    pub(crate) tops: &'a [(BlobDigest, Option<ImageRef>)],
}

impl Driver {
    /// Judges images that are there already. Who asks for them, and what they were built from, is not known any more:
    /// policies are told of a build that asks for nothing, and of no base.
    ///
    /// # Errors
    ///
    /// [`BuildError::Wrong`] with every finding that denies it; when a document of an image cannot be read.
    pub(crate) fn judge_move(
        &self,
        moved: Move<'_>,
        events: &dyn EventSink,
        cancel: &Cancel,
    ) -> Result<(), BuildError> {
        let (request, sources) =
            (BuildRequest { tags: moved.names.clone(), ..BuildRequest::nothing() }, SourceTexts::default());
        let session = Session::new(self, &request, &sources, events, cancel);
        session.show_noticed();
        if !session.policies.are_asked_at(Point::Export) {
            return Ok(());
        }
        let (mut digests, mut images): (Vec<Digest>, Vec<ImageFacts>) = Default::default();
        for (top, pulled_from) in moved.tops {
            digests.push(top.0);
            for (_, image) in self.images_of(top, pulled_from.clone())? {
                digests.push(image.digest.0);
                images.push(self.stored_facts(&image)?);
            }
        }
        let mut seen = Vec::new();
        digests.retain(|digest| {
            let new = !seen.contains(digest);
            seen.push(*digest);
            new
        });
        let facts = ExportFacts {
            kind: moved.kind.to_owned(),
            destination: moved.destination,
            names: moved.names.iter().map(ToString::to_string).collect(),
            digests,
            images,
            options: Vec::new(),
        };
        let mut weighed = Weighed::default();
        session.judge_facts(&facts, &session.names_of_build(), &mut weighed)?;
        session.settle(weighed)
    }

    fn stored_facts(&self, image: &StoredImage) -> Result<ImageFacts, BuildError> {
        let document = image.document(self)?;
        let mut texts = document.history.iter().filter(|line| !line.empty_layer);
        let layers: Vec<LayerInfo> = image
            .manifest
            .layers
            .iter()
            .map(|layer| LayerInfo {
                digest: layer.digest.0,
                media_type: layer.media_type.clone(),
                size: layer.size,
                created_by: texts.next().map(|line| line.created_by.clone()).unwrap_or_default(),
                from_base: false,
                spans: Vec::new(),
            })
            .collect();
        let mut counted = 0;
        let history = document.history.iter().map(|line| {
            let layer = (!line.empty_layer).then_some(counted);
            counted += u32::from(!line.empty_layer);
            // A history that tells of more layers than there are is one of some other tool.
            let layer = layer.filter(|layer| (*layer as usize) < layers.len());
            HistoryLine { created_by: line.created_by.clone(), comment: line.comment.clone(), layer }
        });
        Ok(ImageFacts {
            history: history.collect(),
            platform: document.platform.clone(),
            config: document.config.clone(),
            annotations: image.manifest.annotations.clone().into_iter().collect(),
            base: None,
            total_size: layers.iter().map(|layer| layer.size).sum(),
            attestation_types: Vec::new(),
            layers,
        })
    }
}
