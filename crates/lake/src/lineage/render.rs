//! A lineage as text, JSON and DOT.

use std::{collections::BTreeSet, fmt::Write as _};

use serde_json::{Map, Value, json};

use super::{Lineage, LineageNode, NodeKind};

/// More files than this with the same origin are one line of a tree.
const FILES_SHOWN: usize = 3;
/// Longest line of SQL or label in a tree, in characters.
const LABEL_CHARS_MAX: usize = 110;

/// Inputs that are shown as one line.
struct Group {
    nodes: Vec<usize>,
    columns: String,
}

impl Lineage {
    /// Renders a tree per thing that was asked for: below each line what it is made of. What
    /// stood above is not unfolded again.
    #[must_use]
    pub fn tree(&self) -> String {
        let mut out = format!("snapshot {}\n", self.snapshot);
        let mut shown = BTreeSet::new();
        for root in &self.roots {
            let root = Group { nodes: vec![*root], columns: String::new() };
            self.branch(&mut out, &root, ("", ""), &mut shown);
        }
        out
    }

    /// Renders nodes and edges; an edge goes from an input to what is made of it.
    #[must_use]
    pub fn json(&self) -> Value {
        let nodes = self.nodes.iter().map(|node| {
            let details = node.details.iter();
            let details = details.map(|(key, value)| ((*key).to_owned(), json!(value)));
            json!({
                "id": node.id,
                "kind": node.kind.key(),
                "label": node.label,
                "details": details.collect::<Map<String, Value>>(),
            })
        });
        let edges = self.edges().map(|(from, to, columns)| {
            let mut edge = json!({ "from": from, "to": to });
            if !columns.is_empty() {
                edge["columns"] = json!(columns);
            }
            edge
        });
        json!({
            "snapshot": self.snapshot,
            "roots": self.roots.iter().map(|root| &self.nodes[*root].id).collect::<Vec<_>>(),
            "nodes": nodes.collect::<Vec<_>>(),
            "edges": edges.collect::<Vec<_>>(),
        })
    }

    /// Renders the graph for Graphviz.
    #[must_use]
    pub fn dot(&self) -> String {
        let quoted = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"");
        let mut out = "digraph lineage {\n  rankdir=LR;\n  node [shape=box];\n".to_owned();
        for node in &self.nodes {
            let label = quoted(&shorten(&node.label));
            let _ = writeln!(
                out,
                "  \"{}\" [label=\"{}\\n{label}\"];",
                quoted(&node.id),
                node.kind.key()
            );
        }
        for (from, to, _) in self.edges() {
            let _ = writeln!(out, "  \"{}\" -> \"{}\";", quoted(from), quoted(to));
        }
        out.push_str("}\n");
        out
    }

    /// Writes a line and the inputs below it. `indent` is what stands before the line, and
    /// before the lines below.
    fn branch(
        &self,
        out: &mut String,
        group: &Group,
        indent: (&str, &str),
        shown: &mut BTreeSet<usize>,
    ) {
        let Some(&node) = group.nodes.first() else { return };
        let is_known = group.nodes.iter().all(|node| shown.contains(node));
        let inputs = self.groups(node);
        let note = if is_known && !inputs.is_empty() { "  (above)" } else { "" };
        let _ = writeln!(out, "{}{}{}{note}", indent.0, self.line(group), group.columns);
        if is_known {
            return;
        }
        shown.extend(&group.nodes);
        let last = inputs.len().saturating_sub(1);
        for (i, input) in inputs.iter().enumerate() {
            let (head, tail) = if i == last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
            let indent = (format!("{}{head}", indent.1), format!("{}{tail}", indent.1));
            self.branch(out, input, (&indent.0, &indent.1), shown);
        }
    }

    /// Returns the inputs of a node, many files with one origin put together.
    fn groups(&self, node: usize) -> Vec<Group> {
        let mut groups: Vec<Group> = Vec::new();
        for (&input, columns) in &self.inputs[node] {
            let is_file = |node: usize| self.nodes[node].kind == NodeKind::File;
            let with = groups.iter_mut().find(|group| {
                is_file(input)
                    && is_file(group.nodes[0])
                    && self.inputs[group.nodes[0]] == self.inputs[input]
            });
            match with {
                Some(group) => group.nodes.push(input),
                None => {
                    let columns: Vec<&str> = columns.iter().map(String::as_str).collect();
                    let columns = match columns.as_slice() {
                        [] => String::new(),
                        some => format!("  ({})", some.join(", ")),
                    };
                    groups.push(Group { nodes: vec![input], columns });
                }
            }
        }
        let split = |group: Group| match group.nodes.len() {
            n if n > FILES_SHOWN => vec![group],
            _ => {
                let one = |node| Group { nodes: vec![node], columns: group.columns.clone() };
                group.nodes.iter().copied().map(one).collect()
            }
        };
        groups.into_iter().flat_map(split).collect()
    }

    fn line(&self, group: &Group) -> String {
        let nodes: Vec<&LineageNode> = group.nodes.iter().map(|node| &self.nodes[*node]).collect();
        if let [node] = nodes.as_slice() {
            return line(node);
        }
        let years = nodes.iter().map(|node| detail(node, "known_year"));
        let records = nodes.iter().filter_map(|node| detail(node, "records").parse::<u64>().ok());
        format!(
            "{} files of the snapshot, known {} to {}, {} records",
            nodes.len(),
            years.clone().min().unwrap_or_default(),
            years.max().unwrap_or_default(),
            records.sum::<u64>()
        )
    }
}

fn detail<'n>(node: &'n LineageNode, key: &str) -> &'n str {
    node.details.iter().find(|(known, _)| *known == key).map_or("", |(_, value)| value)
}

/// Renders a node with what a reader of a tree wants to know of it first.
fn line(node: &LineageNode) -> String {
    let of = |key| detail(node, key);
    let short = |digest: &str| digest.chars().take(12).collect::<String>();
    let about = match node.kind {
        NodeKind::Archive => {
            format!(", sha256 {}, licence {}", short(of("sha256")), of("licence"))
        }
        NodeKind::File => format!(", known {}, {}", of("known_year"), counted(of("records"))),
        NodeKind::Table => format!(", files with {}", counted(of("records"))),
        NodeKind::View => format!(", sql {}", short(of("sql_sha256"))),
        NodeKind::Feature => {
            format!(", {}, sql {}, {}", of("section"), short(of("sql_sha256")), of("formula"))
        }
        NodeKind::Retrieval => format!(", queries {}", short(of("queries_sha256"))),
        NodeKind::Record => {
            let released = of("released_by");
            let released = if released.is_empty() {
                String::new()
            } else {
                format!(", released by {released}")
            };
            format!(", known {}{released}", of("known_at"))
        }
        NodeKind::Evidence => format!(", known {}, {}", of("known_at"), of("source")),
        NodeKind::Source | NodeKind::Member | NodeKind::Claim | NodeKind::Thesis => String::new(),
    };
    let label = shorten(&node.label);
    let label = match (node.kind, label.strip_suffix(".parquet")) {
        (NodeKind::File, Some(path)) => {
            format!("{}...parquet", path.chars().take(20).collect::<String>())
        }
        _ => label,
    };
    format!("{} {label}{about}", node.kind.key())
}

fn counted(records: &str) -> String {
    if records == "1" { "1 record".to_owned() } else { format!("{records} records") }
}

fn shorten(label: &str) -> String {
    let one_line: String = label.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if one_line.chars().count() <= LABEL_CHARS_MAX {
        return one_line;
    }
    one_line.chars().take(LABEL_CHARS_MAX).chain("...".chars()).collect()
}
