//! The `[[policy]]` tables of an experiment, multiplied out: one variant for each setting of the knobs.

use super::GuidanceMode;
use anyhow::{Context, Result, anyhow, bail, ensure};
use mixcache_policies::PolicySpec;
use mixcache_policies::amended::Amended;
use toml::{Table, Value};

/// One policy with one setting of its knobs.
#[derive(Clone, Debug, PartialEq)]
pub struct Variant {
    /// The policy.
    pub spec: PolicySpec,
    /// Readable name with all knobs given, e.g. `tea threshold=0.1`.
    pub label: String,
    /// The curve it belongs to: name and the knobs that are not swept.
    pub series: String,
    /// The swept knob, if one is.
    pub knob: Option<(String, f64)>,
    /// How guidance is run, where it differs from the experiment's.
    pub guidance_mode: Option<GuidanceMode>,
    /// Whether it estimates what could be reached: drawn and named so, and no candidate where the best is looked for.
    pub upper: bool,
}

impl Variant {
    /// The uncached reference of every experiment.
    pub fn off() -> Variant {
        Variant {
            spec: PolicySpec::Off(Default::default()),
            label: "off".into(),
            series: "off".into(),
            knob: None,
            guidance_mode: None,
            upper: false,
        }
    }
}

/// A `[[policy]]` table whose arrays multiply out.
pub(super) fn multiply_out(table: &Table) -> Result<Vec<Variant>> {
    let mut fixed = table.clone();
    let name = match fixed.remove("name") {
        None => None,
        Some(Value::String(name)) => Some(name),
        Some(other) => bail!("`policy.name = {other}`: expected a string"),
    };
    let guidance_mode = match fixed.remove("guidance_mode") {
        None => None,
        Some(mode) => Some(mode.try_into().context("`policy.guidance_mode`")?),
    };
    let upper = match fixed.remove("upper") {
        None => false,
        Some(Value::Boolean(upper)) => upper,
        Some(other) => bail!("`policy.upper = {other}`: expected true or false"),
    };
    let mut swept: Vec<(String, Vec<Value>)> = vec![];
    for (key, value) in table {
        if let Value::Array(values) = value {
            ensure!(!values.is_empty(), "`policy.{key} = []`: expected at least one value");
            fixed.remove(key);
            swept.push((key.clone(), values.clone()));
        }
    }
    // The knob of the curve is the one with most values; the others make curves of their own.
    let number = |value: &Value| value.as_float().or(value.as_integer().map(|i| i as f64));
    let numeric = swept
        .iter()
        .filter(|(_, values)| values.iter().all(|v| number(v).is_some()));
    let knob = numeric
        .max_by_key(|(_, values)| values.len())
        .map(|(key, _)| key.clone());
    let mut settings = vec![fixed];
    for (key, values) in &swept {
        let with = |setting: &Table, value: &Value| {
            let mut setting = setting.clone();
            setting.insert(key.clone(), value.clone());
            setting
        };
        settings = settings
            .iter()
            .flat_map(|s| values.iter().map(move |v| with(s, v)))
            .collect();
    }
    settings
        .into_iter()
        .map(|setting| {
            let kind = setting.get("kind").and_then(Value::as_str).unwrap_or("?").to_string();
            let spec = policy_of(&setting, &kind)?;
            let knob = knob
                .as_ref()
                .and_then(|key| Some((key.clone(), number(setting.get(key)?)?)));
            let shown = |keep: &dyn Fn(&str) -> bool| {
                let knobs = setting.iter().filter(|(key, _)| *key != "kind" && keep(key));
                knobs
                    .map(|(key, value)| format!(" {key}={}", value.to_string().trim_matches('"')))
                    .collect::<String>()
            };
            let batched = if guidance_mode == Some(GuidanceMode::Batched) {
                " (batched guidance)"
            } else {
                ""
            };
            let is_swept = |key: &str| swept.iter().any(|(k, _)| k == key);
            let is_knob = |key: &str| knob.as_ref().is_some_and(|(k, _)| k == key);
            // A named curve hides the knobs that are fixed in it: the name stands for them.
            let named = name.is_some();
            let head = name.clone().unwrap_or(kind);
            let series = format!(
                "{head}{batched}{}",
                shown(&|key| !is_knob(key) && (is_swept(key) || !named))
            );
            let label = format!("{series}{}", shown(&is_knob));
            Ok(Variant {
                spec,
                label,
                series,
                knob,
                guidance_mode,
                upper,
            })
        })
        .collect()
}

/// A policy from its keys. serde names the wrong type, not the key that has it: here the key is named too.
fn policy_of(setting: &Table, kind: &str) -> Result<PolicySpec> {
    let mut setting = setting.clone();
    let amended = match setting.remove("amended") {
        None => false,
        Some(Value::Boolean(amended)) => amended,
        Some(other) => bail!("in [[policy]] kind = \"{kind}\", `amended = {other}`: expected true or false"),
    };
    let wrap = |spec| {
        if amended {
            PolicySpec::Amended(Amended::new(spec))
        } else {
            spec
        }
    };
    let read = |table: &Table| table.clone().try_into::<PolicySpec>();
    read(&setting).map(wrap).map_err(|error| {
        let is_to_blame = |key: &&String| {
            let mut without = setting.clone();
            without.remove(*key);
            read(&without)
                .err()
                .is_none_or(|error| error.to_string().contains(&format!("missing field `{key}`")))
        };
        let culprit = setting.keys().filter(|key| *key != "kind").find(is_to_blame);
        let place = culprit
            .map(|key| format!(", `{key} = {}`", setting[key]))
            .unwrap_or_default();
        anyhow!("in [[policy]] kind = \"{kind}\"{place}: {}", error.to_string().trim())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variants(text: &str) -> Vec<Variant> {
        multiply_out(&toml::from_str(text).unwrap()).unwrap()
    }

    #[test]
    fn arrays_multiply_out_and_the_longest_is_the_knob() {
        let all = variants("kind = 'step'\ninterval = [2, 3, 4]\nform = ['output', 'residual']");
        assert_eq!(all.len(), 6);
        assert_eq!(all[0].label, "step form=output interval=2");
        assert_eq!(all[0].series, "step form=output");
        assert_eq!(all[0].knob, Some(("interval".into(), 2.0)));
        let curves: std::collections::BTreeSet<_> = all.iter().map(|v| v.series.as_str()).collect();
        assert_eq!(curves.len(), 2);
    }

    #[test]
    fn a_name_stands_for_the_fixed_knobs() {
        let all = variants("kind = 'first-blocks'\nname = 'FBCache'\nwarmup = 4\nthreshold = [0.1, 0.2]");
        assert_eq!(all[1].label, "FBCache threshold=0.2");
        assert_eq!(all[1].series, "FBCache");
    }

    #[test]
    fn any_policy_can_be_amended_and_its_knobs_stay_its_own() {
        let all = variants("kind = 'sea'\namended = [false, true]\nthreshold = [0.1, 0.2]");
        assert_eq!(all[3].label, "sea amended=true threshold=0.2");
        assert!(
            matches!(&all[3].spec, PolicySpec::Amended(amended) if *amended.of == multiply_out(&toml::from_str("kind = 'sea'\nthreshold = 0.2").unwrap()).unwrap()[0].spec)
        );
        assert!(matches!(&all[0].spec, PolicySpec::Sea(_)));
        let error = multiply_out(&toml::from_str("kind = 'sea'\namended = 1").unwrap()).unwrap_err();
        assert!(
            error.to_string().contains("`amended = 1`: expected true or false"),
            "{error}"
        );
    }

    #[test]
    fn the_upper_line_is_marked_and_its_mark_is_no_knob() {
        let all = variants("kind = 'uniform'\nupper = true\ncomputed = [20, 25]");
        assert!(all.iter().all(|v| v.upper));
        assert_eq!(
            (all[0].label.as_str(), all[0].series.as_str()),
            ("uniform computed=20", "uniform")
        );
        assert!(!variants("kind = 'uniform'\ncomputed = 20")[0].upper);
        let error = multiply_out(&toml::from_str("kind = 'uniform'\nupper = 'yes'").unwrap()).unwrap_err();
        assert!(error.to_string().contains("`policy.upper = \"yes\"`"), "{error}");
    }

    #[test]
    fn a_wrong_knob_names_policy_and_key() {
        let table = toml::from_str("kind = 'tea'\nthreshold = 'high'\ncoefficients = 'x'").unwrap();
        let error = format!("{:#}", multiply_out(&table).unwrap_err());
        assert!(error.contains("tea") && error.contains("threshold"), "{error}");
        let table = toml::from_str("kind = 'teacache'").unwrap();
        let error = format!("{:#}", multiply_out(&table).unwrap_err());
        assert!(error.contains("teacache") && error.contains("first-blocks"), "{error}");
    }
}
