//! `report.html`: one run as a page of one file, which loads nothing and needs no network.
//!
//! The page itself is `page.html`, `style.css` and the scripts beside them, put together here with the run's data (`data`) as
//! JSON. What it shows and how it is driven stands in the page's own help (`?`).

mod data;

pub(super) use data::role_name;

use crate::verdict::{SeedRun, VariantRun};

/// The parts of the page, in the order the browser reads them.
const PAGE: &str = include_str!("page.html");
const STYLE: &str = include_str!("style.css");
const SCRIPTS: [&str; 4] = [
    include_str!("model.js"),
    include_str!("draw.js"),
    include_str!("panels.js"),
    include_str!("main.js"),
];

/// The page of one seed.
#[must_use]
pub fn page(run: &VariantRun, seed: &SeedRun) -> String {
    let title = escape(&format!("{}, seed {}", run.title(), seed.seed));
    let scripts = SCRIPTS.concat();
    let data = data::of(run, seed).to_string();
    // In the order of their places: what was put in is not looked through for the next.
    let parts = [
        ("{title}", &title[..]),
        ("{style}", STYLE),
        ("{data}", &embed(&data)),
        ("{script}", &scripts),
    ];
    let (mut out, mut rest) = (String::with_capacity(data.len() + 100_000), PAGE);
    for (place, part) in parts {
        let Some((before, after)) = rest.split_once(place) else { continue };
        out.push_str(before);
        out.push_str(part);
        rest = after;
    }
    out.push_str(rest);
    out
}

/// JSON inside a `<script>`: `<` never stands there as itself, so that no text can end the element or begin a comment.
fn embed(json: &str) -> String {
    json.replace('<', "\\u003c").replace('\u{2028}', "\\u2028").replace('\u{2029}', "\\u2029")
}

/// Text inside an element.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    #[test]
    fn the_page_of_a_run_holds_its_data_whole_and_nothing_else_can_be_read_as_a_script() {
        let page = page(&sample::variant(), &sample::red());
        assert_eq!(page.matches("</script").count(), 2, "the data's and the page's own");
        let data = page.split_once("id=\"data\">").unwrap().1.split_once("</script>").unwrap().0;
        let data: serde_json::Value = serde_json::from_str(data).unwrap();
        assert_eq!(data["verdict"], "FAILED");
        assert_eq!(data["lanes"].as_array().unwrap().len(), 4, "three nodes and the writer");
        assert_eq!(data["violations"][0]["check"], "lost-write");
        assert_eq!(data["beyondBudget"], serde_json::json!([]));
        assert_eq!(data["lost"], "1 acknowledged ones lost");
        // The record was written, acknowledged and cut off, and its leader was killed between.
        assert!(data["violations"][0]["slice"].as_array().unwrap().len() >= 5);
        assert_eq!(data["versions"][0][1], serde_json::json!([900_000_000, 2, 2, [2], [1, 2], 1]));
        let curve = &data["replicas"][0]["end"];
        assert_eq!(curve["is"], serde_json::json!([1, 2, 3, 4, 3]));
        assert_eq!(data["faults"][0]["until"], 1_500_000_000, "dead until it was started");
        assert_eq!(data["clients"][0]["sent"].as_array().unwrap().len(), 4);
    }

    #[test]
    fn no_text_of_a_run_can_end_the_script_it_stands_in() {
        let json = serde_json::json!({ "note": "</script><!-- \u{2028} {script}" }).to_string();
        let embedded = embed(&json);
        assert!(!embedded.contains('<') && !embedded.contains('\u{2028}'), "{embedded}");
        let back: serde_json::Value = serde_json::from_str(&embedded).unwrap();
        assert_eq!(back["note"], "</script><!-- \u{2028} {script}");
    }

    #[test]
    fn the_page_has_each_place_once_and_in_order_and_names_no_address() {
        let places = ["{title}", "{style}", "{data}", "{script}"].map(|place| {
            assert_eq!(PAGE.matches(place).count(), 1, "{place}");
            PAGE.find(place).unwrap()
        });
        assert!(places.is_sorted());
        let parts = [PAGE, STYLE].into_iter().chain(SCRIPTS);
        for part in parts {
            for loads in [
                "http:",
                "https:",
                "//cdn",
                "@import",
                "url(",
                "fetch(",
                "XMLHttpRequest",
                "import(",
            ] {
                assert!(!part.contains(loads), "{loads} in\n{part}");
            }
        }
    }
}
