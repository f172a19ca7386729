//! Asks a frontend for an equivalent of its plan in files that the user can keep, and checks where they would be written.

use std::collections::BTreeSet;

use kiln_core::seams::Services;
use kiln_core::{Cancel, Request};

use crate::ask::{FrontendChoice, bad_answer, wrong};
use crate::convert::{Fault, plan};
use crate::error::PlanError;
use crate::limits;
use crate::plugins::Host;
use crate::record;
use crate::state::printable;

/// A file that a frontend would have written for the user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EjectedFile {
    /// Relative, of ordinary names between slashes; leads to no place where version control keeps its own files.
    pub path: String,
    pub text: String,
}

impl Host {
    /// An equivalent in files, no two of them at one place; `None` from a frontend that cannot write itself down.
    ///
    /// # Errors
    ///
    /// As [`Self::plan`].
    pub fn eject(
        &self,
        frontend: &FrontendChoice,
        request: &Request,
        services: &dyn Services,
        cancel: &Cancel,
    ) -> Result<Option<Vec<EjectedFile>>, PlanError> {
        const HOOK: &str = "eject";
        let plugin = self.frontend(frontend)?;
        if plugin.hooks.frontend_eject.is_none() {
            return Ok(None);
        }
        let asked = plan::tell(request, &self.frontend_options(&plugin, &request.options)?);
        let answer = self.in_session(&plugin, request, services, cancel, |instance| {
            let guest = instance.frontend_eject()?;
            let answer = instance.recorded(
                "frontend-eject.eject",
                record::arguments!(asked),
                || HOOK.to_owned(),
                |store| guest.call_eject(store, &asked),
            )?;
            match answer {
                Ok(files) => {
                    let files =
                        files.into_iter().map(|file| EjectedFile { path: file.path, text: file.text });
                    checked(files.collect()).map(Ok).map_err(|fault| bad_answer(&plugin, HOOK, &fault))
                }
                Err(failure) => wrong(&plugin, HOOK, failure.diagnostics).map(Err),
            }
        })?;
        answer.map(Some).map_err(PlanError::Wrong)
    }
}

/// # Errors
///
/// A path that leads elsewhere, or two files that cannot both be there.
fn checked(files: Vec<EjectedFile>) -> Result<Vec<EjectedFile>, Fault> {
    if files.len() > limits::EJECTED {
        return Err(Fault::new(format!("more than {} files to be written", limits::EJECTED)));
    }
    let mut taken = BTreeSet::new();
    for EjectedFile { path, text } in &files {
        let refuse = |why: &str| Err(Fault::new(format!("the file `{}` {why}", printable(path, 200))));
        if path.is_empty() || path.len() > limits::PATH_BYTES || path.chars().any(char::is_control) {
            return refuse("has a name that no file has");
        }
        let mut names = path.split('/');
        if names.clone().any(|name| matches!(name, "" | "." | "..")) {
            return refuse("is not named by a plain relative path");
        }
        if names.any(|name| name.eq_ignore_ascii_case(".git")) {
            return refuse("would be one of git's own");
        }
        if text.len() > limits::FILE_BYTES {
            return refuse("is too long");
        }
        if !taken.insert(path.as_str()) {
            return refuse("would be written twice");
        }
    }
    let inside =
        |path: &str| path.match_indices('/').find(|(end, _)| taken.contains(&path[..*end])).is_some();
    match files.iter().find(|file| inside(&file.path)) {
        Some(file) => {
            Err(Fault::new(format!("the file `{}` would lie in another file", printable(&file.path, 200))))
        }
        None => Ok(files),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(paths: &[&str]) -> Vec<EjectedFile> {
        let file = |path: &&str| EjectedFile { path: (*path).to_owned(), text: String::new() };
        paths.iter().map(file).collect()
    }

    #[test]
    fn files_lie_in_the_directory_and_apart() {
        let good = files(&["Dockerfile", ".dockerignore", "deploy/app.env", "deploy/b/c"]);
        assert_eq!(checked(good.clone()).map_err(|fault| fault.to_string()), Ok(good));
        for (paths, says) in [
            (&["/etc/passwd"][..], "plain relative path"),
            (&["../x"], "plain relative path"),
            (&["a/../../x"], "plain relative path"),
            (&["a//b"], "plain relative path"),
            (&["./a"], "plain relative path"),
            (&["a/"], "plain relative path"),
            (&[""], "name that no file has"),
            (&["a\nb"], "name that no file has"),
            (&["a\0b"], "name that no file has"),
            (&[".git/hooks/post-commit"], "git's own"),
            (&["sub/.GIT/config"], "git's own"),
            (&["a", "b", "a"], "written twice"),
            (&["a/b/c", "a/b"], "in another file"),
        ] {
            let fault = checked(files(paths)).unwrap_err().to_string();
            assert!(fault.contains(says), "{paths:?}: {fault}");
        }
        let long = "x/".repeat(3000) + "x";
        assert!(checked(files(&[&long])).is_err());
        assert!(checked(vec![files(&["a"])[0].clone(); limits::EJECTED + 1]).is_err());
    }
}
