//! What the build tool wrote down when it was done, see `builder/`.

/// A module of the project.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Module {
    /// As the tool calls it.
    pub(crate) name: String,
    /// Absolute.
    pub(crate) directory: String,
    /// The tool did all that was asked of it.
    pub(crate) done: bool,
    /// The class that the build file names as the one to start.
    pub(crate) main_class: Option<String>,
    pub(crate) artefacts: Vec<Artefact>,
    /// In the order of the class path.
    pub(crate) needs: Vec<Need>,
}

/// A file that the tool made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Artefact {
    /// What tells it from the main one, which has none.
    pub(crate) classifier: String,
    /// Absolute.
    pub(crate) path: String,
}

/// Something on the class path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// A library by the name of its copy, and where the tool keeps it.
    Library { name: String, is_snapshot: bool, path: String },
    /// What another module made, by its absolute path.
    Sibling(String),
}

/// Reads facts, one in a line, fields separated by tabs. Lines of a kind that is not known are passed over.
pub(crate) fn parse(text: &str) -> Vec<Module> {
    let mut modules: Vec<Module> = Vec::new();
    for line in text.lines() {
        let fields: Vec<&str> = line.split('\t').collect();
        if let ["module", name, directory, state] = fields[..] {
            modules.push(Module {
                name: name.to_owned(),
                directory: directory.to_owned(),
                done: state == "done",
                ..Module::default()
            });
            continue;
        }
        let Some(module) = modules.last_mut() else { continue };
        match fields[..] {
            ["main", class] => module.main_class = Some(class.to_owned()),
            ["artefact", classifier, path] => {
                let artefact = Artefact { classifier: classifier.to_owned(), path: path.to_owned() };
                if !module.artefacts.contains(&artefact) {
                    module.artefacts.push(artefact);
                }
            }
            [kind @ ("library" | "snapshot"), name, path] => module.needs.push(Need::Library {
                name: name.to_owned(),
                is_snapshot: kind == "snapshot",
                path: path.to_owned(),
            }),
            ["sibling", _, path] => module.needs.push(Need::Sibling(path.to_owned())),
            _ => {}
        }
    }
    modules
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_belong_to_the_module_before_them() {
        let modules = parse(
            "library\tlost.jar\t/lost.jar\nmodule\tapp\t/src/app\tdone\nmain\ta.B\nartefact\t\t/src/app/target/app.jar\nlibrary\tx-1.jar\t/r/x-1.jar\nsnapshot\ty-1-SNAPSHOT.jar\t/r/y.jar\nsibling\tlib\t/src/lib/target/lib.jar\nnews\tof\tlater\nmodule\tlib\t/src/lib\tfailed\n",
        );
        let [app, lib] = &modules[..] else { panic!("{modules:?}") };
        assert_eq!((app.name.as_str(), app.done, app.main_class.as_deref()), ("app", true, Some("a.B")));
        assert_eq!((app.artefacts.len(), app.needs.len()), (1, 3));
        assert!(matches!(&app.needs[1], Need::Library { is_snapshot: true, .. }));
        assert_eq!((lib.done, lib.needs.len()), (false, 0));
    }
}
