//! Random expressions, written in several notations that must agree, and changed ones that must not pass.

use data::Status;
use proptest::prelude::*;

use super::verdict;

/// An expression that is defined and real for all values of its variables.
#[derive(Debug, Clone)]
enum Expr {
    Number(u32),
    Variable(char),
    Pi,
    Add(Box<Expr>, Box<Expr>),
    Subtract(Box<Expr>, Box<Expr>),
    Multiply(Box<Expr>, Box<Expr>),
    /// By a positive integer.
    Divide(Box<Expr>, u32),
    Square(Box<Expr>),
    /// √(1 + e²)
    Root(Box<Expr>),
    Sine(Box<Expr>),
    Exponential(Box<Expr>),
}

fn expression() -> impl Strategy<Value = Expr> {
    let leaf = prop_oneof![
        3 => (1u32..30).prop_map(Expr::Number),
        2 => prop::sample::select(vec!['x', 'y', 'n']).prop_map(Expr::Variable),
        1 => Just(Expr::Pi),
    ];
    leaf.prop_recursive(3, 10, 2, |inner| {
        let two = (inner.clone(), inner.clone()).prop_map(|(a, b)| (Box::new(a), Box::new(b)));
        prop_oneof![
            4 => two.clone().prop_map(|(a, b)| Expr::Add(a, b)),
            3 => two.clone().prop_map(|(a, b)| Expr::Subtract(a, b)),
            4 => two.prop_map(|(a, b)| Expr::Multiply(a, b)),
            2 => (inner.clone(), 2u32..12).prop_map(|(a, n)| Expr::Divide(Box::new(a), n)),
            2 => inner.clone().prop_map(|a| Expr::Square(Box::new(a))),
            1 => inner.clone().prop_map(|a| Expr::Root(Box::new(a))),
            1 => inner.clone().prop_map(|a| Expr::Sine(Box::new(a))),
            1 => inner.prop_map(|a| Expr::Exponential(Box::new(a))),
        ]
    })
}

impl Expr {
    /// LaTeX as a textbook has it.
    fn latex(&self) -> String {
        match self {
            Self::Number(n) => n.to_string(),
            Self::Variable(c) => c.to_string(),
            Self::Pi => r"\pi ".into(),
            Self::Add(a, b) => format!("{} + {}", a.latex(), b.latex()),
            Self::Subtract(a, b) => format!(r"{} - \left({}\right)", a.latex(), b.latex()),
            Self::Multiply(a, b) => format!(r"\left({}\right) \cdot \left({}\right)", a.latex(), b.latex()),
            Self::Divide(a, n) => format!(r"\frac{{{}}}{{{n}}}", a.latex()),
            Self::Square(a) => format!(r"\left({}\right)^{{2}}", a.latex()),
            Self::Root(a) => format!(r"\sqrt{{1+\left({}\right)^2}}", a.latex()),
            Self::Sine(a) => format!(r"\sin\left({}\right)", a.latex()),
            Self::Exponential(a) => format!(r"e^{{{}}}", a.latex()),
        }
    }

    /// What a program would print.
    fn plain(&self) -> String {
        match self {
            Self::Number(n) => n.to_string(),
            Self::Variable(c) => c.to_string(),
            Self::Pi => "pi".into(),
            Self::Add(a, b) => format!("({} + {})", a.plain(), b.plain()),
            Self::Subtract(a, b) => format!("({} - {})", a.plain(), b.plain()),
            Self::Multiply(a, b) => format!("{}*{}", a.plain_factor(), b.plain_factor()),
            Self::Divide(a, n) => format!("({})/{n}", a.plain()),
            Self::Square(a) => format!("({})**2", a.plain()),
            Self::Root(a) => format!("sqrt(1 + ({})**2)", a.plain()),
            Self::Sine(a) => format!("sin({})", a.plain()),
            Self::Exponential(a) => format!("exp({})", a.plain()),
        }
    }

    fn plain_factor(&self) -> String {
        format!("({})", self.plain())
    }

    /// The same value in another order and by other means.
    fn reordered(&self) -> String {
        match self {
            Self::Number(n) => format!(r"\tfrac{{{}}}{{2}}", 2 * n),
            Self::Variable(c) => format!("{{{c}}}"),
            Self::Pi => "π".into(),
            Self::Add(a, b) => format!("{{{}}}+{{{}}}", b.reordered(), a.reordered()),
            Self::Subtract(a, b) => format!("-({})+({})", b.reordered(), a.reordered()),
            Self::Multiply(a, b) => format!("({})({})", b.reordered(), a.reordered()),
            Self::Divide(a, n) => format!(r"\dfrac1{{{n}}}\left[{}\right]", a.reordered()),
            Self::Square(a) => format!(r"({0}) \times ({0})", a.reordered()),
            Self::Root(a) => format!("(({})^2 + 1)^{{1/2}}", a.reordered()),
            Self::Sine(a) => format!(r"-\sin(-({}))", a.reordered()),
            Self::Exponential(a) => format!(r"\exp({})", a.reordered()),
        }
    }
}

#[test]
fn a_sine_of_the_negative_beside_a_large_number_is_that_of_its_argument() {
    for (gold, answer) in [
        (r"\sin\left(1\right) + e^{\left(11\right)^{2}}", r"\exp(11 \cdot 11) - \sin(-1)"),
        (r"\tan(y - x) + 10^{80}", r"10^{80} - \tan(x - y)"),
        (r"\cos(x - y) + 10^{80}", r"10^{80} + \cos(y - x)"),
    ] {
        let verdict = verdict(gold, &format!("so \\boxed{{{answer}}}"));
        assert_eq!(verdict.status, Status::Pass, "{gold} | {answer}: {verdict:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn notations_of_one_expression_agree(expression in expression()) {
        let forms = [expression.latex(), expression.plain(), expression.reordered()];
        for gold in &forms {
            for form in &forms {
                let verdict = verdict(gold, &format!("so \\boxed{{{form}}}"));
                // Exponentials of exponentials may be over the limits; they must not be called different.
                let towering = expression.latex().matches("e^").count() > 1;
                let undecided = towering && verdict.status == Status::Undecided;
                prop_assert!(verdict.status == Status::Pass || undecided, "{} | {}: {:?}", gold, form, verdict);
            }
        }
    }

    #[test]
    fn changed_expressions_do_not_pass(expression in expression(), shift in 1u32..50, scale in 2u32..9) {
        let changed = [
            format!("{} + {shift}", expression.latex()),
            format!("({}) - \\frac{{{shift}}}{{997}}", expression.reordered()),
            format!("{} + {shift} z", expression.latex()),
            format!("({}) + 10^{{-{scale}0}}", expression.plain()),
        ];
        for form in changed {
            let verdict = verdict(&expression.latex(), &format!("so \\boxed{{{form}}}"));
            prop_assert_ne!(verdict.status, Status::Pass, "{} | {}", expression.latex(), form);
        }
    }
}
