//! Every kind of finding, with the code by which it is silenced and exempted.

use kiln_sdk::wit::describe::Rule;
use kiln_sdk::wit::diagnostics::{Diagnostic, Severity};

macro_rules! codes {
    ($($name:ident $severity:ident $code:literal: $summary:literal;)*) => {
        /// What a finding is about.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Code {
            $($name,)*
        }

        const CODES: &[(Code, &str, Severity, &str)] =
            &[$((Code::$name, $code, Severity::$severity, $summary),)*];
    };
}

codes! {
    AnnotationMismatch Error "annotation-mismatch": "an annotation with another value than `require-annotations` says";
    AnnotationMissing Error "annotation-missing": "an image without an annotation of `require-annotations`";
    AttestationMissing Error "attestation-missing": "an image without an attestation of `require-attestations`";
    BadOption Error "bad-option": "an option of this policy that says nothing, or two that contradict each other";
    BaseDenied Error "base-denied": "an image on a base that `deny-bases` names";
    BaseNotAllowed Error "base-not-allowed": "an image on a base that `allow-bases` does not name";
    BaseTooOld Error "base-too-old": "an image on a base older than `max-base-age`";
    ChecksumMissing Error "checksum-missing": "a download without a checksum (`require-checksum`)";
    CommandDenied Error "command-denied": "a step that runs a program of `deny-commands`";
    CommitMissing Error "commit-missing": "a repository without a whole commit (`require-commit`)";
    DestinationDenied Error "destination-denied": "a push to a name that `deny-destinations` names";
    DestinationNotAllowed Error "destination-not-allowed": "a push to a name that `allow-destinations` does not name";
    DigestMissing Error "digest-missing": "an image without a digest (`require-digest`)";
    HealthcheckMissing Error "healthcheck-missing": "an image without a health check (`require-healthcheck`)";
    HostNetwork Error "host-network": "a step on the network of the machine (`network`)";
    ImageDenied Error "image-denied": "an image that `deny-images` names";
    ImageNotAllowed Error "image-not-allowed": "an image that `allow-images` does not name";
    ImageTooLarge Error "image-too-large": "an image larger than `max-size`";
    ImageTooOld Error "image-too-old": "an image that is used and older than `max-image-age`";
    InsecureStep Error "insecure-step": "a step that runs without its sandbox (`no-insecure`)";
    LabelMismatch Error "label-mismatch": "a label with another value than `require-labels` says";
    LabelMissing Error "label-missing": "an image without a label of `require-labels`";
    LatestTag Error "latest-tag": "an image by the tag `latest`, or by none (`no-latest`)";
    LayerTooLarge Error "layer-too-large": "a layer larger than `max-layer-size`";
    OutputNotAllowed Error "output-not-allowed": "a kind of output that `allow-outputs` does not name";
    PackageDenied Error "package-denied": "an image with a package of `deny-packages`";
    PackagesUnreadable Error "packages-unreadable": "a database of packages that `deny-packages` cannot be compared with";
    PipeToShell Error "pipe-to-shell": "a step that runs what it downloads (`no-pipe-to-shell`)";
    PlainHttp Error "plain-http": "a download or repository without encryption (`no-plain-http`)";
    PluginNotAllowed Error "plugin-not-allowed": "a plugin that `allow-plugins` does not name";
    PortDenied Error "port-denied": "an image that exposes a port of `deny-ports`";
    PortNotAllowed Error "port-not-allowed": "an image that exposes a port that `allow-ports` does not name";
    PrivateKey Error "private-key": "a private key in a layer (`no-secrets`)";
    RepositoryDenied Error "repository-denied": "a repository that `deny-repositories` names";
    RepositoryNotAllowed Error "repository-not-allowed": "a repository that `allow-repositories` does not name";
    RootUser Error "root-user": "an image that runs as root (`require-user`)";
    SecretFile Error "secret-file": "a file with credentials in a layer (`no-secrets`)";
    SecretInArg Error "secret-in-arg": "a build argument that holds a secret (`no-secrets`)";
    SecretInEnv Error "secret-in-env": "a variable that holds a secret (`no-secrets`)";
    SecretInHistory Error "secret-in-history": "a secret in history or configuration of an image (`no-secrets`)";
    SecretsNotSearched Warning "secrets-not-searched": "files of a layer that were too many to be searched for secrets";
    SetuidFile Error "setuid-file": "a program that a step gives the rights of its owner or group (`no-setuid`)";
    SourceDenied Error "source-denied": "a source that a rule of `source-policy` denies";
    SourceUnmappable Error "source-unmappable": "a source that a rule of `source-policy` makes something impossible of";
    TagDenied Error "tag-denied": "a push to a tag that `deny-tags` names";
    TagNotAllowed Error "tag-not-allowed": "a push to a tag that `allow-tags` does not name";
    TokenInFile Error "token-in-file": "a token of a service in a layer (`no-secrets`)";
    TooManyLayers Error "too-many-layers": "an image with more layers than `max-layers`";
    UrlDenied Error "url-denied": "a download that `deny-urls` names";
    UrlNotAllowed Error "url-not-allowed": "a download that `allow-urls` does not name";
    UserNotNumeric Error "user-not-numeric": "an image with a user by name (`require-numeric-user`)";
}

impl Code {
    fn row(self) -> &'static (Code, &'static str, Severity, &'static str) {
        // One row per variant, in the order of the variants.
        &CODES[self as usize]
    }

    pub(crate) fn as_str(self) -> &'static str {
        self.row().1
    }

    /// A finding with the severity of its kind.
    pub(crate) fn found(self, message: impl Into<String>) -> Diagnostic {
        Diagnostic::new(self.row().2, self.as_str(), message)
    }
}

/// For `describe`.
pub(crate) fn rules() -> Vec<Rule> {
    let rule = |(_, code, severity, summary): &(Code, &str, Severity, &str)| Rule {
        code: (*code).to_owned(),
        summary: (*summary).to_owned(),
        url: String::new(),
        severity: *severity,
        experimental: false,
    };
    CODES.iter().map(rule).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_sorted_and_each_says_its_own() {
        assert!(CODES.windows(2).all(|pair| pair[0].1 < pair[1].1));
        assert!(CODES.iter().all(|(code, text, ..)| code.as_str() == *text));
    }
}
