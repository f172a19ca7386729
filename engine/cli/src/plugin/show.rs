//! What a plugin is, as a table, as text and as JSON.

use anyhow::Result;
use kiln_core::ImageRef;
use kiln_driver::{InspectedPlugin, PLUGIN_SCHEME, PluginOption, PluginSummary, PulledPlugin};
use serde_json::{Value, json};

use crate::args::Format;
use crate::table;

/// `shelved` ship with kiln and are in no build until somebody asks for them. `sources` tells which of `plugins` are from registries; of `pulled`, those are shown that no build would have anyway.
pub fn list(
    plugins: &[PluginSummary],
    shelved: &[PluginSummary],
    sources: &[(String, ImageRef)],
    pulled: &[PulledPlugin],
    format: Format,
) -> Result<()> {
    let source = |plugin: &PluginSummary| {
        let named = sources.iter().find(|(name, _)| *name == plugin.name);
        named.map(|(_, source)| format!("{PLUGIN_SCHEME}{}", source.familiar()))
    };
    let shown_already: Vec<String> = sources.iter().map(|(_, source)| source.familiar()).collect();
    let pulled: Vec<PulledPlugin> = pulled
        .iter()
        .cloned()
        .map(|mut plugin| {
            plugin.names.retain(|name| !shown_already.contains(name));
            plugin
        })
        .collect();
    if format == Format::Json {
        let had = plugins.iter().map(|plugin| {
            let mut value = summary(plugin);
            value["source"] = json!(source(plugin));
            value
        });
        let on_request = shelved.iter().map(|plugin| {
            let mut value = summary(plugin);
            value["source"] = json!(format!("builtin:{}", plugin.name));
            value
        });
        let plugins = had.chain(on_request).chain(pulled.iter().flat_map(of_registry));
        return table::put(&format!("{:#}\n", json!(plugins.collect::<Vec<Value>>())));
    }
    let row = |plugin: &PluginSummary, from: &str| {
        vec![
            plugin.name.clone(),
            plugin.version.clone(),
            plugin.digest.short(),
            plugin.kinds.join(","),
            from.to_owned(),
            keywords(plugin).join(" "),
        ]
    };
    let from = |plugin: &PluginSummary| match source(plugin) {
        Some(source) => source,
        None if plugin.builtin => "built in".to_owned(),
        None => "file".to_owned(),
    };
    let mut rows: Vec<_> = plugins.iter().map(|plugin| row(plugin, &from(plugin))).collect();
    rows.extend(shelved.iter().map(|plugin| row(plugin, &format!("builtin:{}", plugin.name))));
    for plugin in &pulled {
        rows.extend(plugin.names.iter().map(|name| {
            let from = format!("{PLUGIN_SCHEME}{name}");
            match &plugin.summary {
                Some(summary) => row(summary, &from),
                None => {
                    let [title, version] = [&plugin.title, &plugin.version].map(|text| shown(text));
                    vec![
                        title,
                        version,
                        plugin.wasm.0.short(),
                        "not usable here".to_owned(),
                        from,
                        String::new(),
                    ]
                }
            }
        }));
    }
    table::print(&["NAME", "VERSION", "DIGEST", "KIND", "FROM", "INSTRUCTIONS"], &[], &rows)
}

/// A text out of a registry's document, as far as it goes on one line.
fn shown(text: &str) -> String {
    match text.chars().filter(|c| !c.is_control()).take(40).collect::<String>() {
        text if text.is_empty() => "-".to_owned(),
        text => text,
    }
}

/// One value for each name under which it was pulled.
fn of_registry(plugin: &PulledPlugin) -> Vec<Value> {
    let mut value = match &plugin.summary {
        Some(known) => summary(known),
        None => json!({
            "name": plugin.title,
            "version": plugin.version,
            "digest": plugin.wasm.to_string(),
            "size": plugin.size_bytes,
            "builtin": false,
        }),
    };
    value["manifest"] = json!(plugin.manifest.to_string());
    let each = plugin.names.iter().map(|name| {
        let mut value = value.clone();
        value["source"] = json!(format!("{PLUGIN_SCHEME}{name}"));
        value
    });
    each.collect()
}

/// A plugin that is in a registry, with whether the configuration lets it be used.
pub fn inspect_remote(plugin: &InspectedPlugin, format: Format) -> Result<()> {
    if format == Format::Json {
        let mut value = summary(&plugin.summary);
        value["source"] = json!(plugin.reference);
        value["manifest"] = json!(plugin.manifest.to_string());
        value["refusal"] = json!(plugin.refusal.as_ref().map(|refusal| &refusal.message));
        return table::put(&format!("{value:#}\n"));
    }
    inspect(&plugin.summary, format)?;
    table::put(&format!("source        {}\nmanifest      {}\n", plugin.reference, plugin.manifest))?;
    if let Some(refusal) = &plugin.refusal {
        tellln!("note: {}", refusal.message);
    }
    Ok(())
}

pub fn inspect(plugin: &PluginSummary, format: Format) -> Result<()> {
    if format == Format::Json {
        return table::put(&format!("{:#}\n", summary(plugin)));
    }
    let mut text = format!(
        "{} {}\n{}\ndigest        {}\nsize          {} bytes\n",
        plugin.name, plugin.version, plugin.summary, plugin.digest, plugin.size_bytes
    );
    let imports: Vec<&str> = plugin.imports.iter().map(String::as_str).collect();
    let rows = [
        ("kind", &plugin.kinds[..]),
        ("instructions", &keywords(plugin)),
        ("wants", &plugin.capabilities),
        ("imports", &imports),
    ];
    for (name, values) in rows {
        if !values.is_empty() {
            text.push_str(&format!("{name:<13} {}\n", values.join(" ")));
        }
    }
    if !plugin.options.is_empty() {
        let row =
            |option: &PluginOption| vec![format!("  {}", option.name), takes(option), option.summary.clone()];
        let rows: Vec<Vec<String>> = plugin.options.iter().map(row).collect();
        text.push('\n');
        text.push_str(&table::text(&["OPTION", "VALUE", "MEANING"], &[], &rows));
    }
    table::put(&text)
}

/// What an option is when nobody sets it, or what it can be.
fn takes(option: &PluginOption) -> String {
    let mut words = Vec::new();
    if !option.choices.is_empty() {
        words.push(option.choices.join("|"));
    }
    match (&*option.preset, option.sensitive) {
        ("", _) if option.required => words.push("required".to_owned()),
        ("", _) => {}
        (_, true) => words.push("[secret]".to_owned()),
        (preset, false) => words.push(format!("[{preset}]")),
    }
    if option.repeatable {
        words.push("…".to_owned());
    }
    if words.is_empty() { "-".to_owned() } else { words.join(" ") }
}

fn option_json(option: &PluginOption) -> Value {
    json!({
        "name": option.name,
        "summary": option.summary,
        "default": option.preset,
        "required": option.required,
        "choices": option.choices,
        "sensitive": option.sensitive,
        "repeatable": option.repeatable,
    })
}

fn keywords(plugin: &PluginSummary) -> Vec<&str> {
    plugin.keywords.iter().map(|keyword| &*keyword.keyword).collect()
}

fn summary(plugin: &PluginSummary) -> Value {
    json!({
        "name": plugin.name,
        "version": plugin.version,
        "summary": plugin.summary,
        "digest": plugin.digest.to_string(),
        "size": plugin.size_bytes,
        "builtin": plugin.builtin,
        "kinds": plugin.kinds,
        "instructions": keywords(plugin),
        "capabilities": plugin.capabilities,
        "imports": plugin.imports,
        "options": plugin.options.iter().map(option_json).collect::<Vec<_>>(),
    })
}
