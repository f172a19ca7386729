//! Looks images up by name, as the builder or the base of the result.

use kiln_sdk::GraphBuilder;
use kiln_sdk::wit::diagnostics::Diagnostic;
use kiln_sdk::wit::frontend_types::BuildFailure;
use kiln_sdk::wit::graph::{ImageSource, OpKind, Output};
use kiln_sdk::wit::source_types::{ImageInfo, ImageRequest};
use kiln_sdk::wit::types::{HostError, ImageConfig, Platform};
use kiln_sdk::wit::{contexts, resolver};

/// An image, or a build context that the person gave in place of one (`--build-context golang=…`).
#[derive(Clone, Debug)]
pub struct Image {
    /// As it was asked for.
    pub name: String,
    /// Its files. Absent for an image without layers.
    pub root: Option<Output>,
    pub config: ImageConfig,
    pub platform: Platform,
    /// For provenance: name without digest, digest of the manifest. Empty for a directory.
    pub base_name: String,
    pub base_digest: String,
}

impl Image {
    /// Looks `name` up for a platform, and puts it into the graph. `option` is what the person types to name another,
    /// such as `go.builder`.
    ///
    /// # Errors
    ///
    /// `image-not-found`, `image-platform` or `image-unavailable`, each with what to type.
    pub fn find(
        graph: &mut GraphBuilder,
        name: &str,
        platform: &Platform,
        option: &str,
    ) -> Result<Self, BuildFailure> {
        let given = contexts::lookup(&[name.to_owned()], platform).pop().flatten();
        if let Some(context) = given {
            let root = graph.build_context(&context.name);
            graph.set_platform(root, platform);
            graph.rename(root, name);
            return Ok(match context.image {
                Some(info) => {
                    check(name, platform, &info.platform, option)?;
                    Self::of(name, info, Some(root))
                }
                None => Self {
                    name: name.to_owned(),
                    root: Some(root),
                    config: ImageConfig::default(),
                    platform: platform.clone(),
                    base_name: String::new(),
                    base_digest: String::new(),
                },
            });
        }
        let source = ImageSource { reference: name.to_owned(), pinned: None };
        let asked = ImageRequest { source, platform: Some(platform.clone()) };
        let nothing = || HostError { code: "other".to_owned(), message: "no answer".to_owned() };
        let info = resolver::images(&[asked])
            .pop()
            .unwrap_or_else(|| Err(nothing()))
            .map_err(|error| BuildFailure::from(failure(name, platform, option, &error)))?;
        check(name, platform, &info.platform, option)?;
        let pinned = Some(info.manifest.clone());
        let root = graph.push(OpKind::Image(ImageSource { reference: name.to_owned(), pinned }));
        graph.set_platform(root, &info.platform);
        graph.rename(root, name);
        Ok(Self::of(name, info, Some(root)))
    }

    fn of(name: &str, info: ImageInfo, root: Option<Output>) -> Self {
        Self {
            name: name.to_owned(),
            root: root.filter(|_| info.layers > 0),
            config: info.config,
            platform: info.platform,
            base_name: info.reference.split('@').next().unwrap_or_default().to_owned(),
            base_digest: info.manifest,
        }
    }
}

/// An image that is in no list of images for several platforms comes whatever was asked for. Its programs would be those of
/// another machine.
fn check(name: &str, wanted: &Platform, found: &Platform, option: &str) -> Result<(), BuildFailure> {
    if (&wanted.os, &wanted.arch) == (&found.os, &found.arch) {
        return Ok(());
    }
    let (wanted, found) = (platform_text(wanted), platform_text(found));
    let message = format!("the image `{name}` is for {found} alone, and one for {wanted} is needed");
    Err(Diagnostic::error("image-platform", message)
        .help(format!("name another with `--opt {option}=IMAGE`"))
        .into())
}

fn failure(name: &str, platform: &Platform, option: &str, error: &HostError) -> Diagnostic {
    let (code, message) = match error.code.as_str() {
        "not-found" => ("image-not-found", format!("there is no image `{name}`")),
        "no-platform" => {
            ("image-platform", format!("there is an image `{name}`, but not for {}", platform_text(platform)))
        }
        _ => ("image-unavailable", format!("the image `{name}` cannot be looked up: {}", error.message)),
    };
    Diagnostic::error(code, message).help(format!("name another with `--opt {option}=IMAGE`"))
}

/// `linux/arm/v7`.
pub fn platform_text(platform: &Platform) -> String {
    let mut text = format!("{}/{}", platform.os, platform.arch);
    if !platform.variant.is_empty() {
        text.extend(["/", &platform.variant]);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_for_another_machine_is_refused() {
        let platform = |arch: &str, variant: &str| Platform {
            os: "linux".to_owned(),
            arch: arch.to_owned(),
            variant: variant.to_owned(),
            ..Platform::default()
        };
        let (amd, arm) = (platform("amd64", ""), platform("arm64", "v8"));
        assert!(check("x", &amd, &platform("amd64", "v2"), "go.builder").is_ok());
        let found = check("gcc:14", &arm, &amd, "c.builder").unwrap_err().diagnostics.remove(0);
        assert_eq!(found.code, "image-platform");
        assert_eq!(
            found.message,
            "the image `gcc:14` is for linux/amd64 alone, and one for linux/arm64/v8 is needed"
        );
        assert_eq!(found.help, "name another with `--opt c.builder=IMAGE`");
    }
}
