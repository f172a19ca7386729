//! Finds the one artefact of a project that is a program, or says between which to choose.

use std::collections::BTreeMap;

use kiln_sdk::wit::diagnostics::Diagnostic;
use kiln_sdk::wit::frontend_types::BuildFailure;

use crate::facts::Module;
use crate::manifest::Manifest;

/// A jar that the project made, looked into.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Jar {
    /// Index of the module.
    pub(crate) module: usize,
    /// Absolute.
    pub(crate) path: String,
    /// It is not the module's main artefact.
    pub(crate) is_attached: bool,
    pub(crate) manifest: Manifest,
    /// Names of its members.
    pub(crate) members: Vec<String>,
}

/// How a program is put together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Classes and resources, with libraries on the class path.
    Plain,
    /// Spring Boot's: libraries are in the jar, and a launcher finds them.
    SpringBoot,
    /// Quarkus' directory with a jar that names the others. The path is that of the jar.
    Quarkus,
}

/// The program that the image is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Program {
    pub(crate) module: usize,
    pub(crate) path: String,
    pub(crate) kind: Kind,
    /// Empty for Quarkus, whose jar tells it.
    pub(crate) main_class: String,
    /// What made it the one.
    pub(crate) why: String,
}

/// What there is to choose from.
#[derive(Clone, Debug, Default)]
pub(crate) struct Choice<'p> {
    pub(crate) modules: &'p [Module],
    pub(crate) jars: &'p [Jar],
    /// Jars of Quarkus by module.
    pub(crate) quarkus: &'p [(usize, String)],
    /// Options of the person.
    pub(crate) module: Option<&'p str>,
    pub(crate) main_class: Option<&'p str>,
}

/// Whether an artefact is never the program: sources, documentation, tests, and what the one that counts was made of.
pub(crate) fn is_besides(path: &str, classifier: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or_default();
    let endings = ["-plain.jar", "-sources.jar", "-javadoc.jar", "-tests.jar", "-test-sources.jar"];
    !name.ends_with(".jar")
        || name.starts_with("original-")
        || endings.iter().any(|ending| name.ends_with(ending))
        || matches!(classifier, "plain" | "sources" | "javadoc" | "tests" | "test-sources")
}

/// Whether this can be the full name of a class or of a module.
pub(crate) fn is_class_name(text: &str) -> bool {
    let is_part = |part: &str| {
        part.starts_with(|c: char| c.is_alphabetic() || matches!(c, '_' | '$'))
            && part.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '$'))
    };
    text.split('.').all(is_part)
}

impl Choice<'_> {
    fn name(&self, module: usize) -> &str {
        self.modules.get(module).map_or("", |module| module.name.as_str())
    }

    /// The modules that may be meant.
    fn wanted(&self) -> Result<Vec<usize>, BuildFailure> {
        let Some(wanted) = self.module else { return Ok((0..self.modules.len()).collect()) };
        let directory = wanted.trim_start_matches("./").trim_end_matches('/').trim_start_matches('.');
        let is_meant = |module: &Module| {
            let own = module.directory.strip_prefix("/src").unwrap_or(&module.directory);
            module.name == wanted
                || module.name.trim_start_matches(':') == wanted.trim_start_matches(':')
                || own.trim_start_matches('/') == directory
        };
        let found: Vec<usize> =
            (0..self.modules.len()).filter(|index| is_meant(&self.modules[*index])).collect();
        match found[..] {
            [] => {
                let names: Vec<String> = self.modules.iter().map(|it| format!("`{}`", it.name)).collect();
                let message = format!("the project has no module `{wanted}`");
                let help = format!("it has {}", names.join(", "));
                Err(Diagnostic::error("java-module", message).help(help).into())
            }
            _ => Ok(found),
        }
    }

    /// The program, if what the build tool made tells. `None` when no artefact says what to start.
    ///
    /// # Errors
    ///
    /// There are several, or an option names none.
    pub(crate) fn program(&self) -> Result<Option<Program>, BuildFailure> {
        let wanted = self.wanted()?;
        if let Some(class) = self.main_class {
            return self.with_class(&wanted, class).map(Some);
        }
        let mut programs: Vec<Program> = Vec::new();
        for module in wanted {
            programs.extend(self.of_module(module));
        }
        match programs.len() {
            0 => Ok(None),
            1 => match programs.pop() {
                Some(program) if !program.main_class.is_empty() && !is_class_name(&program.main_class) => {
                    let file = program.path.rsplit('/').next().unwrap_or_default();
                    let message =
                        format!("{file} cannot be started: {}, and no class is called so", program.why);
                    let help = "name a class in the build file, such as org.example.Main, or with `--opt java.main-class=`";
                    Err(Diagnostic::error("java-main-class", message).help(help).into())
                }
                program => Ok(program),
            },
            _ => {
                let names: Vec<String> = programs.iter().map(|it| self.label(it)).collect();
                let message = format!("the project makes {} programs: {}", programs.len(), names.join(", "));
                let help = format!("say which with `--opt java.module={}`", self.name(programs[0].module));
                Err(Diagnostic::error("java-programs", message).help(help).into())
            }
        }
    }

    fn label(&self, program: &Program) -> String {
        let file = program.path.rsplit('/').next().unwrap_or_default();
        format!("`{}` ({file}, {})", self.name(program.module), program.why)
    }

    fn of_module(&self, module: usize) -> Option<Program> {
        if let Some((_, path)) = self.quarkus.iter().find(|(of, _)| *of == module) {
            return Some(Program {
                module,
                path: path.clone(),
                kind: Kind::Quarkus,
                main_class: String::new(),
                why: "Quarkus' fast-jar".to_owned(),
            });
        }
        let jars = || self.jars.iter().filter(move |jar| jar.module == module);
        let boot = jars().find_map(|jar| {
            let (main, start) = (jar.manifest.get("Main-Class")?, jar.manifest.get("Start-Class")?);
            Some(Program {
                module,
                path: jar.path.clone(),
                kind: Kind::SpringBoot,
                main_class: main.to_owned(),
                why: format!("Spring Boot's jar that starts `{start}`"),
            })
        });
        let plain = |is_attached: bool| {
            let mut jars = jars().filter(move |jar| jar.is_attached == is_attached);
            jars.find_map(|jar| {
                let named = self.modules[module].main_class.as_deref().filter(|_| !is_attached);
                let (class, why) = match (jar.manifest.get("Main-Class"), named) {
                    (Some(class), _) => (class, "`Main-Class` of its manifest"),
                    (None, Some(class)) => (class, "the main class of its build file"),
                    (None, None) => return None,
                };
                let why = format!("{why} is `{class}`");
                let (path, main_class) = (jar.path.clone(), class.to_owned());
                Some(Program { module, path, kind: Kind::Plain, main_class, why })
            })
        };
        boot.or_else(|| plain(false)).or_else(|| plain(true))
    }

    /// The artefact that has the class which the person named.
    fn with_class(&self, wanted: &[usize], class: &str) -> Result<Program, BuildFailure> {
        let member = format!("{}.class", class.replace('.', "/"));
        let has = |jar: &&Jar| wanted.contains(&jar.module) && jar.members.contains(&member);
        let mut found: Vec<&Jar> = self.jars.iter().filter(has).collect();
        // Of one module, the main artefact.
        found.sort_by_key(|jar| (jar.module, jar.is_attached));
        found.dedup_by_key(|jar| jar.module);
        match found[..] {
            [jar] => Ok(Program {
                module: jar.module,
                path: jar.path.clone(),
                kind: Kind::Plain,
                main_class: class.to_owned(),
                why: "the option `main-class`".to_owned(),
            }),
            [] => {
                let files: Vec<&str> =
                    self.jars.iter().filter_map(|jar| jar.path.rsplit('/').next()).collect();
                let message = format!("no artefact has the class `{class}`");
                let help = format!("looked into {}", files.join(", "));
                Err(Diagnostic::error("java-main-class", message).help(help).into())
            }
            _ => {
                let names: Vec<String> =
                    found.iter().map(|jar| format!("`{}`", self.name(jar.module))).collect();
                let message = format!("the class `{class}` is in several modules: {}", names.join(", "));
                let help = format!("say which with `--opt java.module={}`", self.name(found[0].module));
                Err(Diagnostic::error("java-programs", message).help(help).into())
            }
        }
    }

    /// The program where no artefact tells: the one class with a `main` method. `mains` are the names of such classes by
    /// module.
    ///
    /// # Errors
    ///
    /// There is none, or several.
    pub(crate) fn by_method(&self, mains: &BTreeMap<usize, Vec<String>>) -> Result<Program, BuildFailure> {
        let wanted = self.wanted()?;
        let all: Vec<(usize, &String)> = mains
            .iter()
            .filter(|(module, _)| wanted.contains(module))
            .flat_map(|(module, classes)| classes.iter().map(|class| (*module, class)))
            .collect();
        match all[..] {
            [(module, class)] => {
                let jar = self.jars.iter().find(|jar| jar.module == module && !jar.is_attached);
                let jar = jar.ok_or_else(|| self.nothing())?;
                Ok(Program {
                    module,
                    path: jar.path.clone(),
                    kind: Kind::Plain,
                    main_class: class.clone(),
                    why: format!("`{class}` is the only class with a `main` method"),
                })
            }
            [] => Err(self.nothing()),
            _ => {
                let names: Vec<String> = all
                    .iter()
                    .map(|(module, class)| format!("`{class}` of `{}`", self.name(*module)))
                    .collect();
                let message = format!("several classes have a `main` method: {}", names.join(", "));
                let help = format!("say which with `--opt java.main-class={}`", all[0].1);
                Err(Diagnostic::error("java-programs", message).help(help).into())
            }
        }
    }

    fn nothing(&self) -> BuildFailure {
        let files: Vec<&str> = self.jars.iter().filter_map(|jar| jar.path.rsplit('/').next()).collect();
        let looked = match files.is_empty() {
            true => "the build makes no jar".to_owned(),
            false => format!("looked into {}", files.join(", ")),
        };
        Diagnostic::error("java-no-program", "the project makes no program that can be started").help(format!(
            "{looked}; a manifest with `Main-Class`, Spring Boot, Quarkus, the application plugin or one class with a `main` method makes a program"
        )).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told<T: std::fmt::Debug>(answer: Result<T, BuildFailure>) -> Diagnostic {
        answer.unwrap_err().diagnostics.remove(0)
    }

    fn module(name: &str) -> Module {
        Module { name: name.into(), directory: format!("/src/{name}"), done: true, ..Module::default() }
    }

    fn jar(module: usize, name: &str, manifest: &str) -> Jar {
        Jar {
            module,
            path: format!("/src/target/{name}"),
            manifest: Manifest::parse(manifest.as_bytes()),
            members: vec!["a/Main.class".into()],
            ..Jar::default()
        }
    }

    #[test]
    fn a_main_class_that_no_class_can_be_is_told() {
        let modules = [module("a")];
        for class in ["$(id)", "a b", "a..B", "-jar", "a/B", "a.B\t--help"] {
            let jars = [jar(0, "a-1.jar", &format!("Main-Class: {class}\n"))];
            let choice = Choice { modules: &modules, jars: &jars, ..Choice::default() };
            let found = told(choice.program());
            assert_eq!(found.code, "java-main-class");
            assert!(
                found.message.starts_with("a-1.jar cannot be started: `Main-Class` of its manifest is `"),
                "{found:?}"
            );
        }
    }

    #[test]
    fn what_is_made_besides_is_no_program() {
        for name in
            ["x-1-plain.jar", "original-x.jar", "x-sources.jar", "x-javadoc.jar", "x-tests.jar", "x.war"]
        {
            assert!(is_besides(&format!("/src/target/{name}"), ""), "{name}");
        }
        assert!(is_besides("/src/target/x.jar", "sources") && !is_besides("/src/target/x.jar", "exec"));
    }

    #[test]
    fn one_artefact_that_starts_is_the_program() {
        let modules = [module("lib"), module("app")];
        let jars = [jar(0, "lib.jar", ""), jar(1, "app.jar", "Main-Class: a.Main\n")];
        let choice = Choice { modules: &modules, jars: &jars, ..Choice::default() };
        let program = choice.program().unwrap().unwrap();
        assert_eq!((program.module, program.kind, program.main_class.as_str()), (1, Kind::Plain, "a.Main"));
        let none = Choice { module: Some("lib"), ..choice.clone() };
        assert_eq!(none.program().unwrap(), None);
        let wrong = Choice { module: Some("web"), ..choice };
        let found = told(wrong.program());
        assert_eq!((found.code.as_str(), found.help.as_str()), ("java-module", "it has `lib`, `app`"));
    }

    #[test]
    fn several_programs_are_listed_and_an_option_decides() {
        let modules = [module("one"), module("two")];
        let jars = [jar(0, "one.jar", "Main-Class: a.One\n"), jar(1, "two.jar", "Main-Class: a.Two\n")];
        let choice = Choice { modules: &modules, jars: &jars, ..Choice::default() };
        let found = told(choice.program());
        assert!(found.message.contains("`one` (one.jar") && found.message.contains("`two`"), "{found:?}");
        assert_eq!(found.help, "say which with `--opt java.module=one`");
        for name in ["two", ":two", "./two/"] {
            let program = Choice { module: Some(name), ..choice.clone() }.program().unwrap().unwrap();
            assert_eq!(program.main_class, "a.Two", "{name}");
        }
    }

    #[test]
    fn kinds_are_told_by_what_makes_them() {
        let modules = [module("app")];
        let boot = "Main-Class: org.springframework.boot.loader.launch.JarLauncher\nStart-Class: a.Main\n";
        let attached = Jar { is_attached: true, ..jar(0, "app-exec.jar", boot) };
        let jars = [jar(0, "app.jar", "Main-Class: a.Main\n"), attached];
        let choice = Choice { modules: &modules, jars: &jars, ..Choice::default() };
        let program = choice.program().unwrap().unwrap();
        assert_eq!((program.kind, program.path.as_str()), (Kind::SpringBoot, "/src/target/app-exec.jar"));
        let quarkus = [(0, "/src/app/target/quarkus-app/quarkus-run.jar".to_owned())];
        let program = Choice { quarkus: &quarkus, ..choice }.program().unwrap().unwrap();
        assert_eq!(program.kind, Kind::Quarkus);
        let application = [Module { main_class: Some("a.Main".into()), ..module("app") }];
        let jars = [jar(0, "app.jar", "")];
        let choice = Choice { modules: &application, jars: &jars, ..Choice::default() };
        assert_eq!(choice.program().unwrap().unwrap().main_class, "a.Main");
    }

    #[test]
    fn a_class_is_found_by_name_or_by_its_main_method() {
        let modules = [module("app"), module("other")];
        let jars = [jar(0, "app.jar", ""), Jar { members: Vec::new(), ..jar(1, "other.jar", "") }];
        let choice = Choice { modules: &modules, jars: &jars, ..Choice::default() };
        let named = Choice { main_class: Some("a.Main"), ..choice.clone() };
        assert_eq!(named.program().unwrap().unwrap().module, 0);
        let wrong = Choice { main_class: Some("a.Mian"), ..choice.clone() };
        assert_eq!(told(wrong.program()).code, "java-main-class");
        let mains =
            |classes: &[&str]| BTreeMap::from([(0, classes.iter().map(|&it| it.to_owned()).collect())]);
        assert_eq!(choice.by_method(&mains(&["a.Main"])).unwrap().main_class, "a.Main");
        let several = told(choice.by_method(&mains(&["a.Main", "a.Tool"])));
        assert_eq!(several.help, "say which with `--opt java.main-class=a.Main`");
        assert_eq!(told(choice.by_method(&mains(&[]))).code, "java-no-program");
    }
}
