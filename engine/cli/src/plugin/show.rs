//! What a plugin is, as a table, as text and as JSON.

use anyhow::Result;
use kiln_driver::PluginSummary;
use serde_json::{Value, json};

use crate::args::Format;
use crate::table;

pub fn list(plugins: &[PluginSummary], format: Format) -> Result<()> {
    if format == Format::Json {
        let plugins: Vec<Value> = plugins.iter().map(summary).collect();
        return table::put(&format!("{:#}\n", json!(plugins)));
    }
    let rows: Vec<_> = plugins
        .iter()
        .map(|plugin| {
            vec![
                plugin.name.clone(),
                plugin.version.clone(),
                plugin.digest.short(),
                plugin.kinds.join(","),
                if plugin.builtin { "built in" } else { "file" }.to_owned(),
                keywords(plugin).join(" "),
            ]
        })
        .collect();
    table::print(&["NAME", "VERSION", "DIGEST", "KIND", "FROM", "INSTRUCTIONS"], &[], &rows)
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
    table::put(&text)
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
    })
}
