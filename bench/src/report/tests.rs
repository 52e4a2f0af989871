use super::*;
use crate::{figures, scenario::Part};

fn results() -> Results {
    let row = |name: &str, part, speeds: &[f64]| {
        let mut row = Row::new(name.to_owned(), part);
        let samples = speeds.iter().map(|speed| {
            Sample::default()
                .with(figures::MB_PER_S, *speed)
                .point("CPU per file, ms", 10.0, *speed)
                .point("CPU per file, ms", 10_000.0, speed * 2.0)
        });
        row.rounds = samples.collect();
        row
    };
    let mut absent = Row::new("absent".to_owned(), Part::Peer);
    absent.outcome = Outcome::Skipped("no <compiler> here".to_owned());
    Results {
        scenario: "a-scenario".to_owned(),
        about: "what is asked".to_owned(),
        quick: false,
        rounds: 3,
        machine: Machine::here(Path::new("/")),
        rows: vec![
            row("sluice", Part::Subject, &[100.0, 300.0, 200.0]),
            row("floor", Part::Floor, &[200.0, 300.0, 100.0]),
            absent,
        ],
    }
}

#[test]
fn a_table_has_medians_ranges_and_ratios() {
    let text = markdown::render(&results());
    assert!(text.contains("| sluice | 200 (100–300) |"), "{text}");
    assert!(text.contains("| floor | 200 (100–300) ×1.00 |"), "{text}");
    assert!(
        text.contains("- absent: skipped: no <compiler> here"),
        "{text}"
    );
    let text = table::render(&results());
    assert!(text.contains("sluice        200 (100–300)"), "{text}");
}

#[test]
fn what_was_saved_is_rendered_again() {
    let folder = tempfile::tempdir().unwrap();
    let results = results();
    write(folder.path(), &results).unwrap();
    let text = std::fs::read_to_string(folder.path().join("a-scenario.json")).unwrap();
    assert_eq!(serde_json::from_str::<Results>(&text).unwrap(), results);
    let rendered = render(folder.path()).unwrap();
    let plot = "a-scenario-cpu-per-file--ms.svg";
    assert!(
        rendered.contains(&format!("![CPU per file, ms]({plot})")),
        "{rendered}"
    );
    let svg = std::fs::read_to_string(folder.path().join(plot)).unwrap();
    assert_eq!(svg.matches("<polyline").count(), 2, "{svg}");
    assert!(render(tempfile::tempdir().unwrap().path()).is_err());
}
