//! Tables of gold, content of the box, and status.

use data::Status::{Fail, Pass, Undecided};

use super::{check, verdict_with};
use crate::math::{MathSettings, Percent};

#[test]
fn numbers_are_compared_exactly() {
    check(&[
        ("42", "42", Pass),
        ("42", "42.", Pass),
        ("42", "42.0", Pass),
        ("42", "43", Fail),
        ("42", "-42", Fail),
        ("-7", "−7", Pass),
        ("0.5", r"\frac{1}{2}", Pass),
        ("1/2", r"\dfrac12", Pass),
        (r"\frac{1}{3}", "0.333", Fail),
        (r"\frac{1}{3}", r"0.\overline{3}", Pass),
        (r"\frac{1}{6}", r"0.1\overline{6}", Pass),
        ("2/4", "1/2", Pass),
        ("1.5", r"1\frac{1}{2}", Pass),
        ("1.5", "1 1/2", Pass),
        ("-1.5", r"-1\frac12", Pass),
        ("1½", "3/2", Pass),
        ("8/3", r"2\frac{4}{3}", Pass),
        ("1e3", "1000", Pass),
        ("3 \\times 10^8", "300000000", Pass),
        ("2.5e-3", "0.0025", Pass),
        ("１２", "12", Pass),
        ("123456789012345678901234567890", "123456789012345678901234567890", Pass),
        ("123456789012345678901234567890", "123456789012345678901234567891", Fail),
        ("10^30", "1000000000000000000000000000000", Pass),
        ("2^{-99}", "2^{-98}", Fail),
        ("1/2004!", "1/2006!", Fail),
        ("120", "5!", Pass),
        (r"\binom{5}{2}", "10", Pass),
        ("11", "1011_2", Pass),
        ("12:00", "1:00", Fail),
        ("3:4", "3:4", Pass),
        ("7", "|-7|", Pass),
        ("3", r"\lfloor 3.7 \rfloor", Pass),
    ]);
}

#[test]
fn separators_of_thousands_are_read_and_lists_are_not_swallowed() {
    check(&[
        ("1234", "1,234", Pass),
        ("1234567", "1,234,567", Pass),
        ("1234", "1{,}234", Pass),
        ("1234", r"1\,234", Pass),
        ("1234.5", "1 234.5", Pass),
        ("1,234", "1234", Pass),
        ("(1,234)", "(1, 234)", Pass),
        ("1234", "(1,234)", Fail),
        ("100, 200, 300", "100,200,300", Pass),
        ("234", "1,234", Fail),
        ("1", "1,234", Fail),
        ("123", "12,3", Fail),
    ]);
}

#[test]
fn percent_and_units() {
    check(&[
        ("50\\%", "50", Pass),
        ("50", "50\\%", Pass),
        ("0.5", "50\\%", Pass),
        ("50%", "0.5", Pass),
        ("50", "0.5", Fail),
        ("50%", "5000", Fail),
        ("12.5 percent", r"\frac{1}{8}", Pass),
        ("5", r"5\text{ cm}", Pass),
        ("5 cm", "5", Pass),
        ("5 cm", "5 centimeters", Pass),
        ("5 cm", r"5\text{ m}", Fail),
        (r"5\text{ m}", r"500\text{ cm}", Pass),
        ("30", r"30^\circ", Pass),
        ("30", r"30^{\circ}", Pass),
        ("30", "30°", Pass),
        ("42", r"\$42", Pass),
        ("12", r"12\text{ square units}", Pass),
        ("9", r"9\mathrm{\ cm}^2", Pass),
        ("60", r"60\text{ miles per hour}", Pass),
        ("5000000", "5 million", Pass),
        ("5", "5 million", Fail),
        ("5", r"5\text{ squared}", Undecided),
        ("5", r"5\text{ or six}", Fail),
        ("5", r"5\text{ maybe}", Undecided),
        ("5", r"5\text{ is what I would say now}", Undecided),
    ]);
    let settings = MathSettings { percent: Percent::Value, ..MathSettings::default() };
    assert_eq!(verdict_with(settings, "50", r"\boxed{50\%}").status, Fail);
}

#[test]
fn radicals_and_symbols_have_one_canonical_form() {
    check(&[
        (r"2\sqrt{2}", r"\sqrt{8}", Pass),
        (r"\frac{\sqrt{2}}{2}", r"\frac{1}{\sqrt{2}}", Pass),
        (r"\sqrt{2}-1", r"\frac{1}{1+\sqrt{2}}", Pass),
        (r"\sqrt{6}", r"\sqrt{2}\sqrt{3}", Pass),
        (r"\sqrt{2}+\sqrt{3}", r"\sqrt{5}", Fail),
        ("3", r"\sqrt{9}", Pass),
        ("3", "√9", Pass),
        ("3", "sqrt(9)", Pass),
        ("2", r"\sqrt[3]{8}", Pass),
        ("-2", r"\sqrt[3]{-8}", Pass),
        ("2i", r"\sqrt{-4}", Pass),
        ("4", r"8^{2/3}", Pass),
        ("10", r"\sqrt{10}", Fail),
        (r"\sqrt{10}", r"\sqrt10", Pass),
        (r"\frac{\pi}{2}", r"0.5\pi", Pass),
        ("2π", r"2\pi", Pass),
        (r"\pi", "3.14159", Fail),
        ("3+4i", "4i+3", Pass),
        ("-1", "i^2", Pass),
        (r"1-\frac{1}{e}", r"1+\frac{1}{e}", Fail),
        (r"\sqrt{1/7}", r"\frac{1}{\sqrt7}", Pass),
        (r"1-\sqrt2", "1", Fail),
        (r"\sqrt{1000000016000000063}", r"\sqrt{1000000007}\sqrt{1000000009}", Pass),
        (r"\infty", "∞", Pass),
        (r"-\infty", r"\infty", Fail),
    ]);
}

#[test]
fn expressions_are_polynomial_quotients() {
    check(&[
        ("x^2+2x+1", "(x+1)^2", Pass),
        ("x^2+2x", "x(x+2)", Pass),
        ("x+1", r"\frac{x^2-1}{x-1}", Pass),
        ("2x", "x \\cdot 2", Pass),
        ("2x", "2y", Fail),
        ("x_1+x_2", "x_{2}+x_{1}", Pass),
        (r"\frac{1}{2}x", "x/2", Pass),
        ("2^n", "2^{n}", Pass),
        (r"\sin(x)+1", r"1+\sin x", Pass),
        (r"\sin^2 x", r"(\sin x)^2", Pass),
        (r"\arcsin x", r"\sin^{-1}(x)", Pass),
        (r"\sin x", r"\cos x", Fail),
        (r"\sqrt{x^2}", "x", Undecided),
        ("x", "-x^2", Fail),
        ("-4", "-2^2", Pass),
        ("2^{512}", "2^{2^{3^2}}", Pass),
        ("3x-y+13", "3x+4y+14", Fail),
    ]);
}

#[test]
fn tuples_lists_sets_and_intervals() {
    check(&[
        ("(1, 2)", "(1,2)", Pass),
        ("(1, 2)", r"\left( 1, \frac{4}{2} \right)", Pass),
        ("(1, 2)", "(2, 1)", Fail),
        ("1, 2", "2, 1", Pass),
        ("1, 2", r"2 \text{ and } 1", Pass),
        ("1, 2", "1", Fail),
        ("1728", r"1331 \text{ and } 1728", Fail),
        ("1, 2", "1, 2, 3", Fail),
        (r"\{1, 2\}", r"\{2, 1, 1\}", Pass),
        ("{1, 2}", "2, 1", Pass),
        (r"\{1,2\}", "(1,2)", Fail),
        ("[1, 2)", "[1,2)", Pass),
        ("[1, 2)", "[1,2]", Fail),
        ("(1,2)", "[1,2]", Fail),
        (r"(-\infty, 1) \cup (2, 3]", r"(2,3]\cup(-\infty,1)", Pass),
        (r"\emptyset", r"\{\}", Pass),
        ("((1,2),(3,4))", "((1,2),(3,4))", Pass),
        (r"\pm 3", "3, -3", Pass),
        (r"1 \pm \sqrt{2}", r"1-\sqrt2, 1+\sqrt2", Pass),
        ("3", r"\pm 3", Fail),
        ("5", r"\{5\}", Pass),
    ]);
}

#[test]
fn relations_and_assignments() {
    check(&[
        ("5", "x = 5", Pass),
        ("x = 5", "5", Pass),
        ("x=5", "y=5", Fail),
        ("x = 5", "6", Fail),
        ("5", "3 = 5", Fail),
        ("2", "x = 1 + 1 = 2", Pass),
        ("2", "x = 3 = 2", Fail),
        ("2x+3", "f(x) = 2x+3", Pass),
        ("y = 2x+3", "2x - y + 3 = 0", Pass),
        ("y = 2x+3", "y = 2x-3", Fail),
        ("xy = 1", "x = 1/y", Pass),
        ("x > 5", "5 < x", Pass),
        ("x > 5", r"2x > 10", Pass),
        ("x > 5", "x < 5", Fail),
        ("x > 5", r"x \geq 5", Fail),
        ("1 < x < 2", "2 > x > 1", Pass),
        ("x = 1, x = 2", r"x = 2 \text{ or } x = 1", Pass),
        ("1, 2", r"x=1 \text{ or } x=2", Pass),
        ("[1,2]", r"x \in [1,2]", Pass),
    ]);
}

#[test]
fn words_and_choices() {
    check(&[
        ("B", "B", Pass),
        ("B", r"\text{(B)}", Pass),
        ("B", "(b)", Pass),
        ("(B)", "B.", Pass),
        ("B", "(B) 12", Pass),
        ("B", "C", Fail),
        ("B", r"B \text{ or } C", Fail),
        ("B", "A, B", Fail),
        ("Yes", r"\text{yes}", Pass),
        ("Yes", "No", Fail),
        ("Monday", r"\text{monday}", Pass),
        ("Monday", "Tuesday", Fail),
        ("Evelyn", r"\textbf{Evelyn}", Pass),
        ("3", r"\text{three}", Pass),
        ("73", "**73**", Pass),
    ]);
}

#[test]
fn what_is_not_read_is_undecided_and_what_is_malformed_fails() {
    check(&[
        (r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}", r"\begin{pmatrix}1\\2\end{pmatrix}", Pass),
        (r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}", r"\begin{pmatrix}1\\3\end{pmatrix}", Fail),
        ("5", r"\int_0^5 \cos x\,dx", Undecided),
        // Where both are below zero only one of the two is real.
        (r"\sqrt{x}\sqrt{y}", r"\sqrt{xy}", Undecided),
        (r"\ln(ab)", r"\ln a+\ln b", Undecided),
        ("5", "5 +", Fail),
        ("5", "((5", Fail),
        ("5", "5 5", Fail),
        ("55", "5 5", Fail),
        ("5 5", "55", Undecided),
        ("25", "5 5", Fail),
        ("5", "", Fail),
        ("0", "1/0", Fail),
        ("1", r"1,2,\ldots,n", Fail),
    ]);
}
