//! What is asked of a closure, and the text in which a `derive-op` carries it.

/// The files whose closure is wanted, and what is known of them besides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// Absolute paths; `*`, `?` and `[` make one a pattern that stands for the ELF files it matches.
    pub files: Vec<String>,
    /// Libraries by SONAME that are opened at run time, which no file tells.
    pub with: Vec<String>,
    /// Of the image, as OCI names it; empty when any machine is fine.
    pub architecture: String,
    /// The directory that everything goes into; empty for the root.
    pub into: String,
}

impl Request {
    /// The task of a `derive-op`. None of the texts may have a line break.
    pub fn task(&self) -> String {
        let mut task = String::new();
        for (key, values) in [("file", &self.files), ("with", &self.with)] {
            for value in values {
                task.extend([key, " ", value, "\n"]);
            }
        }
        task.extend(["architecture ", &self.architecture, "\ninto ", &self.into, "\n"]);
        task
    }

    /// Reads [`task`](Self::task) back. Lines of a version to come are passed over.
    pub fn read(task: &str) -> Self {
        let mut request = Self::default();
        for line in task.lines() {
            match line.split_once(' ') {
                Some(("file", path)) => request.files.push(path.to_owned()),
                Some(("with", name)) => request.with.push(name.to_owned()),
                Some(("architecture", name)) => request.architecture = name.to_owned(),
                Some(("into", path)) => request.into = path.to_owned(),
                _ => {}
            }
        }
        request
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_is_read_as_it_was_written() {
        let request = Request {
            files: vec!["/a b".to_owned(), "/c*".to_owned()],
            with: vec!["libx.so".to_owned()],
            architecture: "arm64".to_owned(),
            into: "/rootfs".to_owned(),
        };
        assert_eq!(Request::read(&request.task()), request);
    }
}
