//! What a frontend is asked, and what it answers.

use kiln_core::plan::{Attestation, Scan};
use kiln_core::{Digest, HistoryEntry, Output, Plan, Request, Severity, Target};

use super::{Fault, answers, config, findings, graph, pairs, questions, text, told_pairs};
use crate::bindings::wit::frontend_types as wit;
use crate::limits;

/// `options` are those of the frontend that is asked.
pub(crate) fn tell(request: &Request, options: &[(String, String)]) -> wit::BuildRequest {
    wit::BuildRequest {
        file: request.file.clone(),
        target: request.target.clone(),
        platforms: request.platforms.iter().map(answers::platform).collect(),
        build_platform: answers::platform(&request.build_platform),
        build_args: told_pairs(&request.build_args),
        labels: told_pairs(&request.labels),
        options: told_pairs(options),
        no_cache: request.no_cache.clone(),
        secret_ids: request.secret_ids.clone(),
        ssh_ids: request.ssh_ids.clone(),
    }
}

/// `owner` is the component that answered, called `name`.
///
/// # Errors
///
/// When any part of the answer makes no sense.
pub(crate) fn read(
    answer: wit::BuildResult,
    request: &Request,
    owner: &Digest,
    name: &str,
) -> Result<Plan, Fault> {
    let diagnostics = findings::diagnostics(answer.diagnostics, name)?;
    if diagnostics.iter().any(|found| found.severity == Severity::Error) {
        // The caller turns it into a failure; what else is in the answer does not matter.
        return Ok(Plan { diagnostics, ..Plan::default() });
    }
    let ops = answer.graph.ops.len();
    if answer.targets.iter().any(|target| target.scans.len() > limits::SCANS) {
        return Err(Fault::new(format!("a target with more than {} scans", limits::SCANS)));
    }
    // Of each target its own root, if it has one, and those of its scans.
    let roots: Vec<_> = answer
        .targets
        .iter()
        .flat_map(|target| {
            let roots = target.root.into_iter().chain(target.scans.iter().map(|scan| scan.root));
            roots.map(|root| (root, questions::platform(target.platform.clone())))
        })
        .collect();
    let otherwise = request.platforms.first().unwrap_or(&request.build_platform);
    let (graph, outputs) = graph::finished(answer.graph, owner, &roots, otherwise)?;
    let mut outputs = outputs.into_iter();
    let targets = answer
        .targets
        .into_iter()
        .map(|target| {
            let root = target.root.and_then(|_| outputs.next());
            let scans = outputs.by_ref().take(target.scans.len()).collect();
            read_target(target, root, scans, ops)
        })
        .collect::<Result<_, _>>()?;
    let epoch = match answer.source_date_epoch.as_str() {
        "" => None,
        text => Some(
            text.parse().map_err(|_| Fault::new(format!("`{text}` is no number of seconds since 1970")))?,
        ),
    };
    Ok(Plan {
        graph,
        targets,
        epoch,
        export_options: pairs("export options", answer.export_options)?,
        diagnostics,
    })
}

fn read_target(
    target: wit::TargetResult,
    root: Option<Output>,
    scans: Vec<Output>,
    ops: usize,
) -> Result<Target, Fault> {
    if target.history.len() > limits::OPS {
        return Err(Fault::new(format!("a history of more than {} lines", limits::OPS)));
    }
    let history = target
        .history
        .into_iter()
        .map(|line| {
            let layer = line.layer.map(|op| op as usize);
            if let Some(op) = layer.filter(|op| *op >= ops) {
                return Err(Fault::new(format!("a line of history names op {op}, which is not there")));
            }
            Ok(HistoryEntry {
                created_by: text("history", line.created_by)?,
                comment: text("history", line.comment)?,
                layer,
            })
        })
        .collect::<Result<_, _>>()?;
    let attestations = target.attestations.into_iter().map(|attestation| Attestation {
        predicate_type: attestation.predicate_type,
        predicate: attestation.predicate,
    });
    let scans = target.scans.into_iter().zip(scans);
    let scans = scans.map(|(scan, root)| Ok(Scan { name: text("name of a scan", scan.name)?, root }));
    Ok(Target {
        platform: questions::platform(target.platform),
        root,
        config: config::read(target.config)?,
        history,
        annotations: pairs("annotations", target.annotations)?,
        attestations: attestations.collect(),
        scans: scans.collect::<Result<_, Fault>>()?,
        base_name: text("base name", target.base_name)?,
        base_digest: text("base digest", target.base_digest)?,
    })
}
