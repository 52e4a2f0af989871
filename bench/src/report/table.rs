//! The table for the terminal.

use super::{Results, cells, heads, notes};

pub(super) fn render(results: &Results) -> String {
    let mut rows = vec![heads(results)];
    let measured = results.rows.iter().filter(|row| !row.rounds.is_empty());
    rows.extend(measured.map(|row| cells(results, row)));
    let widths: Vec<usize> = (0..rows[0].len())
        .map(|column| {
            let cells = rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        })
        .collect();
    let mut text = format!(
        "\n{}: {}\n{} rounds: median (range) ×ratio of the first row to this one, median of rounds\n\n",
        results.scenario, results.about, results.rounds
    );
    for row in &rows {
        let line: Vec<String> = row
            .iter()
            .zip(&widths)
            .enumerate()
            .map(|(column, (cell, &width))| {
                let pad = " ".repeat(width - cell.chars().count());
                if column == 0 {
                    format!("{cell}{pad}")
                } else {
                    format!("{pad}{cell}")
                }
            })
            .collect();
        text += line.join("  ").trim_end();
        text.push('\n');
    }
    for note in notes(results) {
        text += &format!("  {note}\n");
    }
    text
}
