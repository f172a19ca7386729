//! What components may call, beside trees: contexts, resolver, solver, progress and instructions of `wit/host.wit`.

use std::rc::Rc;
use std::sync::Arc;

use kiln_core::seams::{HostError, TreeView};
use wasmtime::component::Resource;

use crate::bindings::wit;
use crate::convert::{answers, findings, graph, questions};
use crate::error::Failure;
use crate::limits;
use crate::state::{LAST_WORDS_CHARS, State, printable};
use crate::trees::OpenTree;

type HostResult<T> = Result<T, wit::types::HostError>;

impl wit::types::Host for State {}
impl wit::diagnostics::Host for State {}
impl wit::graph::Host for State {}
impl wit::source_types::Host for State {}
impl wit::instruction_types::Host for State {}
impl wit::frontend_types::Host for State {}
impl wit::policy_types::Host for State {}

impl State {
    fn opened(
        &mut self,
        tree: Result<Arc<dyn TreeView>, HostError>,
    ) -> wasmtime::Result<HostResult<Resource<OpenTree>>> {
        Ok(match tree {
            Ok(view) => Ok(self.table.push(OpenTree(view))?),
            Err(error) => Err(answers::host_error(error)),
        })
    }

    /// Stops a component that asks again and again: its clock stands still while it waits.
    fn count_lookup(&mut self) -> wasmtime::Result<()> {
        self.used.lookups += 1;
        if self.used.lookups > limits::LOOKUPS {
            return Err(Failure::Calls(limits::LOOKUPS).into());
        }
        Ok(())
    }

    /// Refuses to go on after too many questions, each of which may go out to the network.
    fn count_resolve(&mut self) -> HostResult<()> {
        Self::count(&mut self.used.resolves, limits::RESOLVES, "the resolver").map_err(answers::host_error)
    }
}

impl wit::contexts::Host for State {
    fn lookup(
        &mut self,
        names: Vec<String>,
        platform: wit::types::Platform,
    ) -> wasmtime::Result<Vec<Option<wit::source_types::ContextInfo>>> {
        self.count_lookup()?;
        let platform = questions::platform(platform);
        let found = self.ask(move |services| services.lookup_contexts(&names, &platform))?;
        Ok(found.into_iter().map(|info| info.map(answers::context_info)).collect())
    }

    fn names(&mut self) -> wasmtime::Result<Vec<String>> {
        self.count_lookup()?;
        self.ask(|services| services.context_names())
    }

    fn open(
        &mut self,
        source: wit::graph::ContextSource,
    ) -> wasmtime::Result<HostResult<Resource<OpenTree>>> {
        if let Err(error) = self.count_resolve() {
            return Ok(Err(error));
        }
        let source = questions::context_source(source);
        let tree = self.ask(move |services| services.open_context(&source))?;
        self.opened(tree.map(|tree| self.plugin.narrow(tree, None)))
    }

    fn open_build_file(&mut self) -> wasmtime::Result<HostResult<Resource<OpenTree>>> {
        if let Err(error) = self.count_resolve() {
            return Ok(Err(error));
        }
        let tree = self.ask(|services| services.open_build_file())?;
        let own = self.session.build_file.borrow().clone();
        self.opened(tree.map(|tree| self.plugin.narrow(tree, Some(&own))))
    }
}

impl wit::resolver::Host for State {
    fn images(
        &mut self,
        requests: Vec<wit::source_types::ImageRequest>,
    ) -> wasmtime::Result<Vec<HostResult<wit::source_types::ImageInfo>>> {
        if let Err(error) = self.count_resolve() {
            return Ok(requests.iter().map(|_| Err(error.clone())).collect());
        }
        let plugin = Arc::clone(&self.plugin);
        let answers = each(
            requests,
            |request| {
                let request = questions::image_request(request)?;
                plugin.guard().image(&request.source).map(|()| request)
            },
            |good| self.ask(move |services| services.images(&good)),
            answers::image_info,
        )?;
        self.tell_denials(&answers);
        Ok(answers)
    }

    fn git(
        &mut self,
        requests: Vec<wit::graph::GitSource>,
    ) -> wasmtime::Result<Vec<HostResult<wit::source_types::GitInfo>>> {
        if let Err(error) = self.count_resolve() {
            return Ok(requests.iter().map(|_| Err(error.clone())).collect());
        }
        let plugin = Arc::clone(&self.plugin);
        let answers = each(
            requests,
            |request| {
                let source = questions::git_source(request);
                plugin.guard().git(&source).map(|()| source)
            },
            |good| self.ask(move |services| services.git(&good)),
            answers::git_info,
        )?;
        self.tell_denials(&answers);
        Ok(answers)
    }

    fn http(
        &mut self,
        requests: Vec<wit::graph::HttpSource>,
    ) -> wasmtime::Result<Vec<HostResult<wit::source_types::HttpInfo>>> {
        if let Err(error) = self.count_resolve() {
            return Ok(requests.iter().map(|_| Err(error.clone())).collect());
        }
        let plugin = Arc::clone(&self.plugin);
        let answers = each(
            requests,
            |request| {
                let source = questions::http_source(request)?;
                plugin.guard().http(&source).map(|()| source)
            },
            |good| self.ask(move |services| services.http(&good)),
            answers::http_info,
        )?;
        self.tell_denials(&answers);
        Ok(answers)
    }
}

/// Asks about those of a list that make sense, all at once, and answers for all in the order asked.
fn each<Asked, Good, Found, Told>(
    asked: Vec<Asked>,
    read: impl Fn(Asked) -> Result<Good, HostError>,
    ask: impl FnOnce(Vec<Good>) -> wasmtime::Result<Vec<Result<Found, HostError>>>,
    tell: impl Fn(Found) -> Told,
) -> wasmtime::Result<Vec<HostResult<Told>>> {
    let mut good = Vec::with_capacity(asked.len());
    let refused: Vec<_> = asked.into_iter().map(|one| read(one).map(|one| good.push(one)).err()).collect();
    let mut found = ask(good)?.into_iter();
    let missing = || HostError::new("other", "the host has no answer");
    Ok(refused
        .into_iter()
        .map(|refused| match refused {
            Some(error) => Err(answers::host_error(error)),
            None => match found.next().unwrap_or_else(|| Err(missing())) {
                Ok(found) => Ok(tell(found)),
                Err(error) => Err(answers::host_error(error)),
            },
        })
        .collect())
}

impl wit::solver::Host for State {
    fn solve(
        &mut self,
        graph: wit::graph::Graph,
        outputs: Vec<wit::graph::Output>,
    ) -> wasmtime::Result<HostResult<Vec<Resource<OpenTree>>>> {
        if let Err(error) = Self::count(&mut self.used.solves, limits::SOLVES, "the solver") {
            return Ok(Err(answers::host_error(error)));
        }
        let read = graph::to_solve(graph, &outputs, &self.plugin.id.digest, &self.session.platform);
        let (graph, outputs) = match read {
            Ok(read) => read,
            Err(fault) => {
                return Ok(Err(wit::types::HostError {
                    code: "invalid-argument".to_owned(),
                    message: fault.to_string(),
                }));
            }
        };
        if let Err(error) = self.plugin.guard().solve(&graph) {
            self.tell_denied(&error);
            return Ok(Err(answers::host_error(error)));
        }
        match self.ask(move |services| services.solve(graph, &outputs))? {
            Ok(trees) => {
                let mut handles = Vec::with_capacity(trees.len());
                for view in trees {
                    handles.push(self.table.push(OpenTree(view))?);
                }
                Ok(Ok(handles))
            }
            Err(error) => Ok(Err(answers::host_error(error))),
        }
    }
}

impl wit::progress::Host for State {
    fn log(&mut self, level: wit::progress::Level, message: String) -> wasmtime::Result<()> {
        let level = match level {
            wit::progress::Level::Debug => "debug",
            wit::progress::Level::Info => "info",
            wit::progress::Level::Warn => "warn",
        };
        let message = match self.used.log(message.len()) {
            None => return Ok(()),
            Some(true) => printable(&message, limits::LOG_BYTES),
            Some(false) => "more of its log is suppressed".to_owned(),
        };
        let plugin = self.plugin.id.name.clone();
        // A component that describes itself may talk as well; there is nobody to hear it.
        let _ = self.tell(move |services| services.log(level, &plugin, &message));
        Ok(())
    }

    fn crash(&mut self, message: String) -> wasmtime::Result<()> {
        self.used.crash = printable(message.trim(), LAST_WORDS_CHARS);
        Ok(())
    }

    fn report(&mut self, diagnostic: wit::diagnostics::Diagnostic) -> wasmtime::Result<()> {
        if self.used.log(diagnostic.message.len()) != Some(true) {
            return Ok(());
        }
        let diagnostic = findings::diagnostic(diagnostic, &self.plugin.id.name);
        let _ = self.tell(move |services| services.report(diagnostic));
        Ok(())
    }
}

/// Other components run on this one's clock as well as on their own.
impl wit::instructions::Host for State {
    fn known(&mut self) -> wasmtime::Result<Vec<wit::instruction_types::Descriptor>> {
        Ok(self.session.registry.borrow().known())
    }

    fn validate(
        &mut self,
        statements: Vec<wit::instruction_types::Statement>,
    ) -> wasmtime::Result<Vec<wit::diagnostics::Diagnostic>> {
        let session = Rc::clone(&self.session);
        session.validate(statements, self.depth + 1)
    }

    fn apply(
        &mut self,
        invocation: wit::instruction_types::Invocation,
    ) -> wasmtime::Result<
        Vec<Result<wit::instruction_types::Outcome, wit::instruction_types::InstructionError>>,
    > {
        let session = Rc::clone(&self.session);
        session.apply(invocation, self.depth + 1)
    }
}
