//! Embeds the components that ship with kiln.
