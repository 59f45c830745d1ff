//! Tables of the kind a paper has, from every recording and from published numbers. Reads results only.

mod ablations;
mod costs;
mod quoted;
mod recordings;
mod settings;

use crate::report::{self, Group, Marker};
use crate::schema::replace_file;
use crate::sheet::Sheet;
use anyhow::Result;
use quoted::Quoted;
use recordings::Recording;
use std::path::{Path, PathBuf};

/// One topic: a page of tables.
struct Page {
    stem: &'static str,
    title: String,
    words: String,
    tables: Vec<Table>,
}

/// One table, which is also a CSV and a LaTeX file.
struct Table {
    stem: String,
    title: String,
    words: String,
    sheet: Sheet,
    picture: Option<String>, // SVG
}

/// One table a recording and setting; their files are numbered from the second setting of a recording on.
fn of_each(recordings: &[Recording], table: fn(&Recording, &str, &Group) -> Table) -> Vec<Table> {
    let of_recording = |recording: &'_ Recording| {
        let groups = recording.groups.iter().enumerate();
        groups
            .map(|(i, group)| {
                let suffix = if i == 0 { String::new() } else { format!("-{}", i + 1) };
                table(recording, &suffix, group)
            })
            .collect::<Vec<_>>()
    };
    recordings.iter().flat_map(of_recording).collect()
}

/// Writes all tables into `output` and returns the files. The newest recording of each experiment under `results` counts;
/// published numbers come from the folder `published`.
///
/// # Errors
/// If a recording or a file of published numbers cannot be read; the error names it. Without any recording.
pub fn write(results: &Path, published: &Path, output: &Path) -> Result<Vec<PathBuf>> {
    let recordings = recordings::newest(results, output)?;
    let main = Quoted::read(&published.join("mixcache.toml"))?;
    let baseline = Quoted::read(&published.join("teacache.toml"))?;
    let (ablations, sweeps): (Vec<Recording>, Vec<Recording>) = recordings
        .into_iter()
        .partition(|recording| recording.experiment.starts_with("ablation"));
    let pages = [
        settings::page(&main, &sweeps),
        scatter(&baseline)?,
        ablations::page(&ablations),
        costs::page(&sweeps),
    ];
    let mut index = String::from(
        "# Tables\n\nMade by `mixcache tables`. Each is also there as CSV and LaTeX (`booktabs`, `hyperref`).\n\n",
    );
    let mut files = Vec::new();
    for page in pages.into_iter().filter(|page| !page.tables.is_empty()) {
        index += &format!("- [{}]({}.md)\n", page.title, page.stem);
        files.extend(page.write(output)?);
    }
    files.push(save(output, "README.md", &index)?);
    Ok(files)
}

/// One baseline, as different sources report it.
fn scatter(baseline: &Quoted) -> Result<Page> {
    let table = |setting: &quoted::Setting| -> Result<Table> {
        let markers = setting.row.iter().map(|row| Marker {
            name: row.source.clone(),
            speedup: row.speedup,
            values: [row.psnr_db, row.lpips],
        });
        let title = format!("{}: {}", baseline.title, setting.name);
        let picture = report::scatter(&title, ["PSNR, dB", "LPIPS"], &markers.collect::<Vec<_>>())?;
        Ok(Table {
            stem: format!("same-policy-{}", setting.stem),
            title: setting.name.clone(),
            words: setting.spread(),
            sheet: settings::sheet(setting.row.iter().map(settings::published).collect()),
            picture: Some(picture),
        })
    };
    Ok(Page {
        stem: "same-policy",
        title: baseline.title.clone(),
        words: baseline.analysis.clone(),
        tables: baseline.setting.iter().map(table).collect::<Result<_>>()?,
    })
}

impl Page {
    fn write(&self, folder: &Path) -> Result<Vec<PathBuf>> {
        let mut text = format!("# {}\n", self.title);
        if !self.words.is_empty() {
            text += &format!("\n{}\n", self.words.trim());
        }
        let mut files = Vec::new();
        for Table {
            stem,
            title,
            words,
            sheet,
            picture,
        } in &self.tables
        {
            text += &format!("\n## {title}\n");
            if !words.is_empty() {
                text += &format!("\n{words}\n");
            }
            if let Some(svg) = picture {
                text += &format!("\n![{title}]({stem}.svg)\n");
                files.push(save(folder, &format!("{stem}.svg"), svg)?);
            }
            text += &format!("\n{}", sheet.markdown());
            files.push(save(folder, &format!("{stem}.csv"), &sheet.csv()?)?);
            files.push(save(folder, &format!("{stem}.tex"), &sheet.latex())?);
        }
        files.push(save(folder, &format!("{}.md", self.stem), &text)?);
        Ok(files)
    }
}

fn save(folder: &Path, name: &str, text: &str) -> Result<PathBuf> {
    let path = folder.join(name);
    replace_file(&path, text.as_bytes())?;
    Ok(path)
}

#[cfg(test)]
mod tests;
