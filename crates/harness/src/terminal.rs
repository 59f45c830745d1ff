//! What is printed for people: words and tables that fit a terminal. Nothing is coloured, so that `NO_COLOR` has nothing to
//! turn off.

use comfy_table::{Cell, CellAlignment, ContentArrangement, LineStyle, Table, TableStyle};
use console::Term;
use textwrap::{Options, WordSplitter};

/// Most columns that a line takes.
const WIDTH_MOST: usize = 100;
/// Columns that a table needs to be read at all.
const WIDTH_LEAST: usize = 60;

/// Columns a line may take: those of the terminal, or the most where there is none.
fn width() -> usize {
    let (_, columns) = Term::stdout().size_checked().unwrap_or((0, WIDTH_MOST as u16));
    usize::from(columns).clamp(WIDTH_LEAST, WIDTH_MOST)
}

/// Prints lines, longer ones wrapped at spaces: paths and options stay whole.
pub fn say(text: &str) {
    println!("{}", wrapped(text, "", width()));
}

/// Prints a line of a list; what does not fit stands indented below it.
pub fn say_item(text: &str) {
    println!("{}", item(text));
}

/// The same to be printed elsewhere.
pub fn item(text: &str) -> String {
    wrapped(text, "      ", width())
}

/// Text of which no line is wider, but for a word that is.
fn wrapped(text: &str, indent: &str, width: usize) -> String {
    let options = Options::new(width)
        .break_words(false)
        .word_splitter(WordSplitter::NoHyphenation)
        .subsequent_indent(indent);
    let lines = text.lines().flat_map(|line| textwrap::wrap(line, options.clone()));
    lines.collect::<Vec<_>>().join("\n")
}

/// On which side of its column a cell stands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Side {
    /// Words.
    Left,
    /// Figures.
    Right,
}

/// A table: its heads, and rows in their order. Where it is too wide, the words of its cells are wrapped.
pub fn table(heads: &[(&str, Side)], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    fitted(heads, rows, width())
}

fn fitted(heads: &[(&str, Side)], rows: impl IntoIterator<Item = Vec<String>>, width: usize) -> String {
    let style = TableStyle::new().header_separator(LineStyle::none().fill('─'));
    let mut table = Table::new();
    table
        .load_style(style)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_width(width as u16)
        .set_header(heads.iter().map(|(head, _)| Cell::new(head)));
    for row in rows {
        table.add_row(row);
    }
    for (column, (_, side)) in table.column_iter_mut().zip(heads) {
        column.set_padding((0, 2));
        column.set_cell_alignment(match side {
            Side::Left => CellAlignment::Left,
            Side::Right => CellAlignment::Right,
        });
    }
    table.trim_fmt()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LABEL: &str = "TeaCache (identity) with Taylor, amended threshold=0.05";

    fn widest(text: &str) -> usize {
        text.lines().map(|line| line.chars().count()).max().unwrap_or(0)
    }

    #[test]
    fn a_table_is_as_wide_as_it_may_be_and_loses_no_word() {
        let heads = [
            ("policy", Side::Left),
            ("compute", Side::Right),
            ("PSNR dB", Side::Right),
        ];
        let rows = || [LABEL, "off"].map(|label| vec![label.to_string(), "52 %".into(), "56.90 ± 1.25".into()]);
        let wide = fitted(&heads, rows(), 100);
        assert!(wide.contains(&format!("{LABEL}     52 %  56.90 ± 1.25")), "{wide}");
        let narrow = fitted(&heads, rows(), 60);
        assert!(widest(&narrow) <= 60, "{narrow}");
        for word in LABEL.split(' ') {
            assert!(narrow.contains(word), "{word}: {narrow}");
        }
    }

    #[test]
    fn long_lines_are_wrapped_at_spaces_and_paths_stay_whole() {
        let path = "results/a-very-long-name-of-an-experiment/2026-01-31-0123abcd/report/report.md";
        let text = format!("report {path}\nok    {LABEL}: its trace replays, bit for bit");
        let shown = wrapped(&text, "      ", 60);
        assert!(shown.contains(path) && shown.contains("\nok    TeaCache"), "{shown}");
        let mut others = shown.lines().filter(|line| !line.contains(path));
        assert!(others.all(|line| line.chars().count() <= 60), "{shown}");
        assert!(shown.lines().last().unwrap().starts_with("      "), "{shown}");
    }
}
