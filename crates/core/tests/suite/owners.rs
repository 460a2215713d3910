//! The laws about more than one owner.

use hosttune_core::testing::laws::{self, Act};
use proptest::prelude::*;

use crate::laws::{cases, moment};
use crate::motor::{MODES, Runs, motor, runs};
use crate::toys::{Wants, machine, wants};

/// What two to four owners do, and the order in which they revert at the end.
pub(crate) fn acts<T: std::fmt::Debug + Clone>(
    tuning: impl Strategy<Value = T> + Clone,
    dying: bool,
) -> impl Strategy<Value = (Vec<Act<T>>, Vec<usize>)> {
    let death = if dying {
        prop::option::weighted(0.4, (0..40_u64, moment())).boxed()
    } else {
        Just(None).boxed()
    };
    (2..=4_usize).prop_flat_map(move |owners| {
        let act = (
            0..owners,
            prop::option::weighted(0.65, tuning.clone()),
            death.clone(),
        );
        let act = act.prop_map(|(owner, applies, death)| Act {
            owner,
            applies,
            death,
        });
        let last: Vec<usize> = (0..owners).collect();
        (prop::collection::vec(act, 1..7), Just(last).prop_shuffle())
    })
}

fn dials() -> impl Strategy<Value = Wants> + Clone {
    wants().boxed()
}

fn modes() -> impl Strategy<Value = Runs> + Clone {
    runs(&MODES[..2]).boxed()
}

fn only_the_first_dies<T>(mut acts: Vec<Act<T>>) -> Vec<Act<T>> {
    let mut dead = false;
    for act in &mut acts {
        act.death = act.death.filter(|_| !dead);
        dead |= act.death.is_some();
    }
    acts
}

proptest! {
    #![proptest_config(cases(20_000))]

    #[test]
    fn owners_end_at_the_first_original((acts, last) in acts(dials(), false)) {
        laws::owners_in_any_order(&machine(), &acts, &last)?;
    }

    #[test]
    fn owners_who_die_end_at_the_first_original((acts, last) in acts(dials(), true)) {
        laws::owners_in_any_order(&machine(), &acts, &last)?;
    }

    #[test]
    fn owners_of_a_motor_end_at_the_first_original((acts, last) in acts(modes(), false)) {
        laws::owners_in_any_order(&motor(40, 7), &acts, &last)?;
    }

    #[test]
    fn owners_of_a_motor_of_whom_one_dies_end_at_the_first_original(
        (acts, last) in acts(modes(), true),
    ) {
        laws::owners_in_any_order(&motor(40, 7), &only_the_first_dies(acts), &last)?;
    }

    #[test]
    fn owners_of_a_motor_who_die_end_at_the_first_original((acts, last) in acts(modes(), true)) {
        laws::owners_in_any_order(&motor(40, 7), &acts, &last)?;
    }
}
