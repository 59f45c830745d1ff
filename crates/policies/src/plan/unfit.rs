//! Why a policy does not fit a run, and the reasons that several share.

use super::Run;

/// A method does not fit a run; the text says why and what would.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unfit(pub String);

pub(crate) fn at_least_one(knob: &str, value: usize) -> Result<(), Unfit> {
    if value == 0 {
        Err(Unfit(format!("`{knob} = 0`: expected at least 1")))
    } else {
        Ok(())
    }
}

pub(crate) fn needs_guidance(run: &Run, what: &str) -> Result<(), Unfit> {
    let branches = run.branches;
    if branches == 2 {
        return Ok(());
    }
    Err(Unfit(format!(
        "{what} needs classifier-free guidance in two passes; this run has {branches} pass a step"
    )))
}

pub(crate) fn needs_like_branches(run: &Run, what: &str) -> Result<(), Unfit> {
    if run.branches_alike {
        return Ok(());
    }
    Err(Unfit(format!(
        "{what} puts hidden states of one branch into the other, and here their prompts differ in tokens: leave it out, \
         or give a `negative_prompt` of as many tokens as each prompt has"
    )))
}
