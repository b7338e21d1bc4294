//! Mermaid and Graphviz DOT.

use std::fmt::Write;

use super::{Drawing, Node};

impl Drawing {
    /// As a Mermaid flowchart, which many viewers of Markdown draw. Blocks are frames with their executor and number of
    /// workers, arrows through a port carry its name.
    ///
    /// ```
    /// # use minigun::Pipeline;
    /// let p = Pipeline::new("numbers");
    /// p.source("numbers", 0..3).threads(4, |s| s.consumer("print", |n| println!("{n}")));
    /// assert_eq!(p.drawing().to_mermaid(), "\
    /// flowchart TD
    ///   s0[\"numbers<br/>source\"]
    ///   subgraph b0 [\"threads:4\"]
    ///     s1[\"print<br/>consumer\"]
    ///   end
    ///   s0 --> s1
    /// ");
    /// ```
    pub fn to_mermaid(&self) -> String {
        let mut out = String::from("flowchart TD\n");
        self.frames(
            None,
            1,
            &mut out,
            &Frames {
                open: |at, label| format!("subgraph b{at} [\"{}\"]", mermaid(label)),
                close: "end",
                node: |at, node| format!("s{at}[\"{}<br/>{}\"]", mermaid(&node.name), node.kind),
            },
        );
        for edge in &self.edges {
            let arrow = edge.port.as_ref().map_or("-->".into(), |port| format!("-->|\"{}\"|", mermaid(port)));
            // Writing to a `String` cannot fail.
            let _ = writeln!(out, "  s{} {arrow} s{}", edge.from, edge.to);
        }
        out
    }

    /// As a Graphviz graph: `dot -Tsvg` draws it. Otherwise as [`to_mermaid`](Self::to_mermaid).
    pub fn to_dot(&self) -> String {
        let mut out = format!("digraph \"{}\" {{\n  node [shape=box];\n", dot(&self.name));
        self.frames(
            None,
            1,
            &mut out,
            &Frames {
                open: |at, label| format!("subgraph cluster_{at} {{ label=\"{}\";", dot(label)),
                close: "}",
                node: |at, node| format!("s{at} [label=\"{}\\n{}\"];", dot(&node.name), node.kind),
            },
        );
        for edge in &self.edges {
            let port = edge.port.as_ref().map_or(String::new(), |port| format!(" [label=\"{}\"]", dot(port)));
            let _ = writeln!(out, "  s{} -> s{}{port};", edge.from, edge.to);
        }
        out.push_str("}\n");
        out
    }

    /// Writes the nodes of a block, and the blocks in it.
    fn frames(&self, block: Option<usize>, depth: usize, out: &mut String, format: &Frames) {
        let indent = "  ".repeat(depth);
        for (at, node) in self.nodes.iter().enumerate().filter(|(_, node)| node.block == block) {
            let _ = writeln!(out, "{indent}{}", (format.node)(at, node));
        }
        for (at, inner) in self.blocks.iter().enumerate().filter(|(_, inner)| inner.inside == block) {
            let _ = writeln!(out, "{indent}{}", (format.open)(at, &inner.label));
            self.frames(Some(at), depth + 1, out, format);
            let _ = writeln!(out, "{indent}{}", format.close);
        }
    }
}

/// How a format writes frames and boxes.
struct Frames {
    open: fn(usize, &str) -> String,
    close: &'static str,
    node: fn(usize, &Node) -> String,
}

/// A name in Mermaid's quotes: what means something there is named by its code.
fn mermaid(name: &str) -> String {
    let coded = |c: char| match c {
        '"' | '#' | '<' | '>' | '&' | '`' | '\\' => format!("#{};", c as u32),
        c if c.is_control() => " ".to_string(),
        c => c.to_string(),
    };
    name.chars().map(coded).collect()
}

/// A name in DOT's quotes.
fn dot(name: &str) -> String {
    let escaped = |c: char| match c {
        '"' | '\\' => format!("\\{c}"),
        c if c.is_control() => " ".to_string(),
        c => c.to_string(),
    };
    name.chars().map(escaped).collect()
}
