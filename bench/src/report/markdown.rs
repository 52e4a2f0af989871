//! The table for documents.

use super::{Results, cells, heads, notes};

pub(super) fn render(results: &Results) -> String {
    let heads = heads(results);
    let mut text = format!("### {}\n\n{}. ", results.scenario, results.about);
    text += &format!(
        "{} rounds: median (range), and behind × the median of the round-by-round ratios of the first row to this one.\n\n",
        results.rounds
    );
    text += &format!("| {} |\n", heads.join(" | "));
    text += &format!("|---|{}\n", "---:|".repeat(heads.len() - 1));
    for row in results.rows.iter().filter(|row| !row.rounds.is_empty()) {
        text += &format!("| {} |\n", cells(results, row).join(" | "));
    }
    text.push('\n');
    for note in notes(results) {
        text += &format!("- {note}\n");
    }
    text
}
