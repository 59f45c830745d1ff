//! What of a report is printed: the fewest columns that answer, for people; all of them as JSON, for programs.

use super::{Report, table, warnings};
use crate::terminal;
use serde_json::{Value, json};

impl Report {
    /// Prints the table of every setting in brief, and where all the rest stands.
    pub fn show(&self) {
        for group in &self.groups {
            terminal::say(&format!("{}; {}", group.describe(), group.sample()));
            for warning in warnings(group) {
                terminal::say(&warning);
            }
            terminal::say(&table::baseline(group));
            println!("\n{}\n", table::brief(group).terminal());
        }
        println!("report      {}", self.page.display());
        println!("to explore  {}", self.html.display());
    }

    /// The same with every column, and the files.
    pub fn json(&self) -> Value {
        let groups = self.groups.iter().map(|group| {
            json!({
                "setting": group.describe(),
                "sample": group.sample(),
                "substituted": group.common.substituted,
                "through": group.common.through,
                "warnings": warnings(group),
                "baseline": table::baseline(group),
                "configurations": table::sheet(group).json(),
            })
        });
        json!({ "report": self.page, "html": self.html, "settings": groups.collect::<Vec<_>>() })
    }
}
