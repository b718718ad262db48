//! The law's parameters: each with its unit, its default (worked out on the simulator, docs/policies.md) and its bounds.
//! They are the keys of `[service.law]` (docs/configuration.md).

use serde::Serialize;

/// One parameter of the law.
#[derive(Clone, Copy, Debug)]
pub struct Parameter {
    /// Its key in the configuration.
    pub key: &'static str,
    /// Unit, for people.
    pub unit: &'static str,
    /// The default.
    pub default: f64,
    /// The least that is allowed.
    pub min: f64,
    /// The most that is allowed.
    pub max: f64,
    /// What it is.
    pub text: &'static str,
    get: fn(&Tuning) -> f64,
    set: fn(&mut Tuning, f64),
}

impl Parameter {
    /// Its value.
    pub fn get(&self, tuning: &Tuning) -> f64 {
        (self.get)(tuning)
    }

    /// Sets it, if the value is within the bounds.
    pub fn set(&self, tuning: &mut Tuning, value: f64) -> Result<(), String> {
        if !(self.min..=self.max).contains(&value) {
            return Err(format!("{value} is not allowed; {}..={} {}", self.min, self.max, self.unit));
        }
        (self.set)(tuning, value);
        Ok(())
    }
}

macro_rules! parameters {
    ($($name:ident $key:literal = $default:literal, $min:literal..=$max:literal $unit:literal: $text:literal;)*) => {
        /// All parameters of the law for one service.
        #[derive(Clone, Copy, Debug, PartialEq, Serialize)]
        #[serde(rename_all = "kebab-case")]
        pub struct Tuning {
            $(#[doc = concat!($text, " (", $unit, ").")] pub $name: f64,)*
        }

        impl Default for Tuning {
            fn default() -> Self {
                Tuning { $($name: $default,)* }
            }
        }

        /// The parameters, in the order of the law: estimate, class, next hops.
        pub const PARAMETERS: &[Parameter] = &[$(Parameter {
            key: $key,
            unit: $unit,
            default: $default,
            min: $min,
            max: $max,
            text: $text,
            get: |tuning| tuning.$name,
            set: |tuning, value| tuning.$name = value,
        },)*];
    };
}

parameters! {
    offered_time "offered-time" = 2.0, 0.2..=60.0 "s": "time constant of the offered rate x";
    rates_time "rates-time" = 1.0, 0.2..=60.0 "s": "time constant of the rates behind the utilisation rho";
    busy_time "busy-time" = 2.0, 0.5..=60.0 "busy s": "time constant of the capacity where the service tells how busy it is";
    backlog_time "backlog-time" = 0.5, 0.1..=30.0 "s": "time constant of the capacity under backlog";
    full "full" = 0.25, 0.05..=0.9 "of the buffer": "above this a queue counts as backlogged";
    growth "growth" = 0.01, 0.0..=0.1 "1/s": "growth of the capacity towards the nominal without backlog, at most";
    onset "onset" = 5.0, 1.0..=600.0 "s": "a saturation this long after the last one is a new one and halves the growth";
    claim "claim" = 4.0, 1.0..=100.0 "times": "no capacity, own or claimed, is believed above this many times the nominal or the median";
    record_interval "record-interval" = 5.0, 1.2..=3600.0 "s": "distance of two records for the peers, at least";
    record_change "record-change" = 0.1, 0.01..=1.0 "of the value": "a change that the peers are told";
    evaluation "evaluation" = 0.5, 0.1..=60.0 "s": "distance of two evaluations of the class rule";
    trust_in "trust-in" = 0.9, 0.1..=1.0 "of mu": "counted on of a server in the class";
    trust_out "trust-out" = 0.8, 0.1..=1.0 "of mu": "counted on of a server that would have to join";
    idle "idle" = 0.02, 0.0..=0.5 "of the farm's capacity": "below this load nobody moves";
    equal "equal" = 0.04, 0.0..=1.0 "of g1": "classes whose goodput differs by less are equally good, and the larger is taken";
    gain "gain" = 0.2, 0.0..=10.0 "of g1": "a gain of goodput that is worth leaving for";
    leave_dwell "leave-dwell" = 1.0, 0.0..=600.0 "s": "how long the wish to leave has to stand";
    patience "patience" = 15.0, 5.0..=3600.0 "s": "a server that ought to leave first and does not is passed over after this";
    join_dwell "join-dwell" = 5.0, 1.0..=3600.0 "s": "how long the wish to come back has to stand";
    join_dwell_urgent "join-dwell-urgent" = 1.0, 0.5..=600.0 "s": "the same where help is urgent";
    urgent "urgent" = 0.97, 0.5..=1.0 "of the load": "help is urgent where the class answers less";
    guard "guard" = 2.0, 1.0..=600.0 "s": "quiet time after any change of the class";
    burst "burst" = 0.6, 0.0..=10.0 "s": "changes this close to the first are one burst";
    hold_min "hold-min" = 30.0, 5.0..=86400.0 "s": "hold-down after leaving";
    hold_max "hold-max" = 480.0, 5.0..=86400.0 "s": "the hold-down doubles up to this";
    relapse "relapse" = 60.0, 0.0..=86400.0 "s": "leaving again so soon after coming back doubles the hold-down";
    verify_after "verify-after" = 12.0, 5.0..=600.0 "s": "a leaving is verified so long afterwards";
    verify_quiet "verify-quiet" = 6.0, 0.0..=600.0 "s": "and after so much time without a change of the class";
    verify_worse "verify-worse" = 0.1, 0.0..=10.0 "of L/k": "a growth of the others' excess that refutes the leaving";
    ban "ban" = 600.0, 0.0..=86400.0 "s": "no leaving after a refuted one";
    self_test_after "self-test-after" = 10.0, 1.0..=3600.0 "s": "a self-test begins so long after leaving";
    hops_move "hops-move" = 0.7, 0.5..=16.0 "next hops": "a deviation that moves the number of next hops";
    hops_move_part "hops-move-part" = 0.12, 0.0..=1.0 "of m": "the same, for a server of many";
    hops_tight_rho "hops-tight-rho" = 0.95, 0.5..=1.5 "rho": "a server used more than this gives a next hop back";
    hops_tight "hops-tight" = 0.25, 0.0..=1.0 "next hops": "if it has rounded up by more than this";
    hops_dwell "hops-dwell" = 2.0, 0.0..=600.0 "s": "how long a deviation has to stand";
    hops_apart "hops-apart" = 5.0, 1.2..=3600.0 "s": "distance of two moves";
}

impl Tuning {
    /// What two parameters must not say of each other.
    pub fn check(&self) -> Result<(), String> {
        for (low, high, keys) in [
            (self.hold_min, self.hold_max, "hold-min, hold-max"),
            (self.trust_out, self.trust_in, "trust-out, trust-in"),
            (self.join_dwell_urgent, self.join_dwell, "join-dwell-urgent, join-dwell"),
            (self.burst, self.guard, "burst, guard"),
        ] {
            if low > high {
                return Err(format!("{keys}: {low} is greater than {high}; the first is at most the second"));
            }
        }
        Ok(())
    }

    /// The most cost changes of one server in an hour: each leaving is followed by a hold-down that doubles, of which
    /// three quarters are sure, and a return.
    pub fn changes_per_hour(&self) -> u32 {
        let (mut time, mut hold, mut cycles) = (0.0, self.hold_min, 0);
        while time <= 3600.0 {
            time += 0.75 * hold;
            hold = (2.0 * hold).min(self.hold_max);
            cycles += 1;
        }
        2 * cycles
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_is_within_its_bounds_and_every_key_sets_its_own_value() {
        for parameter in PARAMETERS {
            let mut tuning = Tuning::default();
            assert_eq!(parameter.get(&tuning), parameter.default, "{}", parameter.key);
            parameter.set(&mut tuning, parameter.max).unwrap();
            assert_eq!(parameter.get(&tuning), parameter.max, "{}", parameter.key);
            let others = PARAMETERS.iter().filter(|other| other.get(&tuning) != other.default);
            assert_eq!(others.count(), usize::from(parameter.max != parameter.default), "{}", parameter.key);
            for bad in [parameter.min - 1.0, parameter.max + 1.0, f64::NAN, f64::INFINITY] {
                assert!(parameter.set(&mut tuning, bad).is_err(), "{} {bad}", parameter.key);
            }
        }
        assert_eq!(Tuning::default().check(), Ok(()));
    }

    #[test]
    fn contradicting_parameters_are_named() {
        let tuning = Tuning { hold_min: 900.0, ..Tuning::default() };
        assert_eq!(
            tuning.check(),
            Err("hold-min, hold-max: 900 is greater than 480; the first is at most the second".into())
        );
    }

    #[test]
    fn the_defaults_allow_28_changes_an_hour() {
        assert_eq!(Tuning::default().changes_per_hour(), 28);
    }
}
