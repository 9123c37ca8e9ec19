//! Tuples, sets, intervals, relations, matrices, units and words in many notations.

use super::{different, same};

#[test]
fn tuples_and_lists_in_other_words() {
    same(&[
        ("120", "C(10,3)"),
        ("1,000", "1000"),
        ("1000000", "1{,}000{,}000"),
        ("12345.67", "12,345.67"),
        ("(1,2)", r"\left(1,2\right)"),
        ("(1,2)", r"(\frac{2}{2}, 2.0)"),
        ("(x,y)=(1,2)", "(1,2)"),
        ("(1,2)", "(x,y)=(1,2)"),
        ("1,2,3", "3, 2, 1"),
        ("1, 2", r"1 \text{ and } 2"),
        ("1, 2", r"1\text{ or }2"),
        ("(0,1)", "(0,1)"),
        ("x=1,x=2", "1,2"),
        (r"\lfloor 3.7\rfloor", "3"),
        (r"\gcd(12,18)", "6"),
        (r"\max(1,2)", "2"),
        ("x = 3 , y = 4", r"x=3 \quad y=4"),
        ("(2,3),(4,5)", "(4,5),(2,3)"),
        (r"(2,3)\text{ and }(4,5)", "(4,5), (2,3)"),
        ("((1,2),(3,4))", "((1,2),(3,4))"),
    ]);
}

#[test]
fn tuples_and_lists_that_differ() {
    different(&[
        (r"1,2,\ldots,n", r"1,3,5,\ldots"),
        ("1728", "1331 and 1728"),
        ("3", r"3\text{ or }4"),
        ("3", "3, 4"),
        ("3", r"3\text{ or 4 or 5 or 6}"),
        ("(1,2)", "(2,1)"),
        ("(1,2)", "(1,2,3)"),
        ("1,2", "1"),
        ("1,2", "1,2,3"),
        ("1", "1,2"),
        ("12", "12 or 13"),
        ("12", r"12\text{ (or maybe }13)"),
        ("1234", "1,2,3,4"),
        ("1234", "1, 234"),
        ("(1,234)", "1234"),
        ("(1,2)", "1"),
        ("(x,y)=(1,2)", "(2,1)"),
    ]);
}

#[test]
fn sets_and_intervals_in_other_words() {
    same(&[
        (r"\{1,2,3\}", r"\{3,2,1\}"),
        (r"\{1,2\}", "1,2"),
        (r"\emptyset", r"\varnothing"),
        (r"\emptyset", r"\{\}"),
        (r"\text{no solution}", r"\emptyset"),
        ("[0,1]", r"\left[0,1\right]"),
        (r"(-\infty,3)", "x<3"),
        (r"[2,\infty)", r"x\ge 2"),
        ("(1,3]", r"1<x\le3"),
        (r"(-\infty,1)\cup(1,\infty)", r"x\neq 1"),
        (r"(-\infty,1)\cup(1,\infty)", r"\mathbb{R}\setminus\{1\}"),
        (r"x\in[-1,1]", "[-1,1]"),
        ("x<1", r"(-\infty,1)"),
        (r"(-\infty,-2)\cup(2,\infty)", "|x|>2"),
        ("(-2,2)", "x^2<4"),
        (r"x<-1\text{ or }x>1", r"(-\infty,-1)\cup(1,\infty)"),
        (r"(-\infty,\infty)", r"\mathbb{R}"),
        (r"\mathbb{R}", r"\text{all real numbers}"),
        (r"\{x\mid x>3\}", r"(3,\infty)"),
        (r"(0,1)\cup(1,2)", r"(1,2)\cup(0,1)"),
        ("]0,1[", "(0,1)"),
        ("x>2", "2<x"),
        ("x>2", "2x>4"),
        (r"x \geq 3", r"3 \le x"),
        (r"\infty", r"+\infty"),
        (r"-\infty", r"-\infty"),
        (r"\left\{\frac12, -3\right\}", r"\{-3, 0.5\}"),
        (r"k\pi, k\in\mathbb{Z}", r"k\pi, k \in \mathbb{Z}"),
    ]);
}

#[test]
fn sets_and_intervals_that_differ() {
    different(&[
        ("3", r"\{3,4\}"),
        ("x>3", "x<3"),
        ("x>3", r"x\ge3"),
        (r"x\ge 3", "x>3"),
        ("[1,2]", "(1,2)"),
        ("[1,2)", "(1,2]"),
        (r"\{1,2\}", r"\{1,3\}"),
        (r"(-\infty,3)", r"(-\infty,3]"),
        (r"(-\infty,1)\cup(2,\infty)", "(1,2)"),
        (r"x\neq 1", "x=1"),
        ("12", r"x \neq 12"),
        ("12", "x>12"),
        (r"\infty", r"-\infty"),
        (r"\infty", "1000000"),
        ("(0,1)", "[0,1]"),
        (r"\emptyset", "0"),
        ("0", r"\emptyset"),
        (r"\{0\}", r"\emptyset"),
        ("all real numbers", r"\emptyset"),
        (r"\mathbb{R}", r"\mathbb{Z}"),
    ]);
}

#[test]
fn relations_in_other_words() {
    same(&[
        ("x=5", "5"),
        ("5", "x=5"),
        ("x=5", "5=x"),
        ("y=2x+1", "2x-y+1=0"),
        ("y=2x+1", "y=1+2x"),
        ("y = mx+b", "f(x) = mx+b"),
        ("x^2+y^2=1", "y^2+x^2-1=0"),
        ("a=1,b=2", "b=2,a=1"),
        (r"\theta=\frac{\pi}{4}", r"\frac{\pi}{4}"),
        ("y=3x-2", "3x-y=2"),
        ("f(x)=x^2", "x^2"),
        ("f(x)=c", "f(t)=c"),
        ("n=2^k", "2^k"),
        (r"\overline{AB}=5", "5"),
    ]);
}

#[test]
fn relations_that_differ() {
    different(&[
        ("3x-y+13=0", "3x+4y+14=0"),
        ("x=3", "y=3"),
        ("x=3", "x=-3"),
        ("f(x)=x", "f(x)=y"),
        ("x+z=1", "1"),
        ("2x+z=1", "1"),
        ("a^2+b=0", "0"),
        ("7=11a+c", "11a+c"),
        ("f(2)=5", "f(3)=5"),
        ("a_1=2", "a_2=2"),
        ("x_1=1,x_2=2", "x_1=2,x_2=1"),
        ("x=1,y=2", "x=2,y=1"),
    ]);
}

#[test]
fn matrices_in_other_words() {
    same(&[
        ("(1,2,3)", r"\langle 1,2,3\rangle"),
        ("(1,2)", r"\begin{pmatrix}1\\2\end{pmatrix}"),
        (r"\begin{pmatrix}1\\2\end{pmatrix}", r"\begin{bmatrix} 1 \\ 2 \end{bmatrix}"),
        (r"\begin{pmatrix}1&2\\3&4\end{pmatrix}", r"\left[\begin{matrix}1&2\\3&4\end{matrix}\right]"),
        (r"\begin{pmatrix}\frac12&0\\0&1\end{pmatrix}", r"\frac12\begin{pmatrix}1&0\\0&2\end{pmatrix}"),
        (r"\begin{vmatrix}1&2\\3&4\end{vmatrix}", "-2"),
    ]);
}

#[test]
fn matrices_that_differ() {
    different(&[
        (r"\begin{pmatrix}1&2\\3&4\end{pmatrix}", r"\begin{pmatrix}1&2\\3&5\end{pmatrix}"),
        (r"\begin{pmatrix}1&2\\3&4\end{pmatrix}", r"\begin{pmatrix}1&3\\2&4\end{pmatrix}"),
        (r"\begin{pmatrix}1\\2\end{pmatrix}", r"\begin{pmatrix}1&2\end{pmatrix}"),
        (r"\begin{pmatrix}1\\2\end{pmatrix}", "(2,1)"),
    ]);
}

#[test]
fn units_in_other_words() {
    same(&[
        (r"\sin 30^\circ", r"\frac12"),
        (r"\tan 45^{\circ}", "1"),
        (r"50\%", "50"),
        (r"50\%", "0.5"),
        ("0.5", r"50\%"),
        (r"50\%", r"\frac12"),
        ("25%", r"25\text{ percent}"),
        ("5", r"5\text{ cm}"),
        (r"5\text{ cm}", "5"),
        ("5 cm", r"0.05\text{ m}"),
        (r"12\text{ cm}^2", r"12\mathrm{cm}^{2}"),
        (r"60^\circ", "60"),
        (r"60^\circ", r"\frac{\pi}{3}"),
        (r"\frac{\pi}{2}", r"90^\circ"),
        (r"\$5.50", "5.5"),
        ("5.50", r"\$5.50"),
        ("18", r"\$18"),
        ("18", "18 dollars"),
        ("2 hours", "120 minutes"),
        ("10", r"10 \text{ apples}"),
        ("7", "7th"),
        ("7", r"7^{\text{th}}"),
        (r"8 \pi \text{ square units}", r"8\pi"),
        (r"\frac{1}{3}\text{ hour}", r"20\text{ minutes}"),
        (r"x\equiv 3 \pmod 7", r"3 \pmod{7}"),
        ("3", r"3 \pmod 7"),
        (r"\angle ABC = 60^\circ", r"60^\circ"),
    ]);
}

#[test]
fn units_that_differ() {
    different(&[
        ("5 cm", "5 m"),
        ("5 cm", "0.5 m"),
        ("2 hours", "2 minutes"),
        (r"90^\circ", r"\frac{\pi}{3}"),
        (r"90^\circ", "1"),
        (r"50\%", "5000"),
        (r"5\%", "0.5"),
        (r"9 \pmod{11}", r"8 \pmod{11}"),
        (r"9 \pmod{11}", r"9 \pmod{12}"),
    ]);
}

#[test]
fn words_in_other_words() {
    same(&[
        (r"x=\pm 2", "2,-2"),
        (r"\pm\sqrt{3}", r"\sqrt3,-\sqrt3"),
        (r"\frac{-1\pm\sqrt5}{2}", r"\frac{-1+\sqrt{5}}{2},\frac{-1-\sqrt{5}}{2}"),
        (r"\text{A}", "A"),
        ("A", "(A)"),
        ("C", r"\text{(C)}"),
        ("B", r"\textbf{(B)}~12"),
        ("D", "D."),
        ("yes", r"\text{Yes}"),
        ("Monday", r"\text{Monday}"),
        (r"\text{odd}", "odd"),
        (r"\text{lcm}(4,6)", "12"),
        ("**73**", "73"),
        (r"3\text{ pm}", r"3\text{ PM}"),
    ]);
}

#[test]
fn words_that_differ() {
    different(&[
        ("B", "C"),
        ("B", "A, B"),
        ("A", r"\text{A or B}"),
        ("yes", "no"),
        (r"\text{odd}", r"\text{even}"),
        ("true", "false"),
        ("12", r"\text{not }12"),
        (r"\text{cat}", r"\text{dog}"),
        (r"\text{Evelyn}", r"\text{Carla}"),
        (r"\pm 2", "2"),
        ("2", r"\pm 2"),
    ]);
}

#[test]
fn intervals_in_the_french_way() {
    same(&[
        ("[0,1)", "[0,1["),
        ("(0,1]", "]0,1]"),
        (r"[0,1)\cup[2,3)", r"[0,1[\cup[2,3["),
        (r"[0,1)\cup(2,3]", r"[0,1[\cup]2,3]"),
        (r"x \in [0,1)", r"x \in [0,1["),
    ]);
    different(&[("[0,1)", "]0,1]"), ("[0,1]", "[0,1["), ("[0,1)", "[0,2["), (r"[0,1)\cup(2,3]", r"[0,1[\cup[2,3]")]);
}

#[test]
fn choices_by_name() {
    same(&[("A", r"\text{Option A}"), ("C", "Choice (C)"), ("B", "Answer: B")]);
    different(&[("A", r"\text{Option B}"), ("A", r"\text{Option A or B}"), ("A", "Option"), ("B", "Answer: A, B")]);
}

#[test]
fn elements_are_no_sets_and_names_have_their_places() {
    same(&[
        (r"\{1\}", "1"),
        (r"\{\{1\},2\}", r"\{2,\{1\}\}"),
        ("(3,-4)", "y=-4, x=3"),
        ("(3,-4)", "m=3, b=-4"),
        ("(1,2,3)", "x=1, y=2, z=3"),
    ]);
    different(&[
        (r"\{1,2,3\}", r"\{\{1\},2,3\}"),
        (r"\{\{1\},2\}", r"\{1,2\}"),
        ("(3,-4)", "y=3, x=-4"),
        ("x=1, y=2", "(2,1)"),
        ("y=2, x=1", "(2,1)"),
    ]);
}

#[test]
fn names_of_angles_and_of_sets_and_dates() {
    same(&[
        (r"\angle ABC=60^\circ", r"\angle CBA=60^\circ"),
        (r"\angle ABC=60^\circ", r"60^\circ"),
        (r"A=\{x\mid x>0\}", r"\{x\mid x>0\}"),
        (r"A=\{x\mid x>0\}", "x>0"),
        (r"\text{June 5}", "June 5"),
        (r"\text{June 5, 2021}", "june 5, 2021"),
        (r"1\frac{1}{2}", r"1{\frac{1}{2}}"),
    ]);
    different(&[
        (r"\angle ABC=60^\circ", r"\angle ACB=60^\circ"),
        (r"m\angle ABC=60^\circ", r"m\angle BAC=60^\circ"),
        (r"\text{June 5}", "June 6"),
        (r"A=\{x\mid x>0\}", "x<0"),
        (r"1\frac{1}{2}", r"1{\frac{1}{3}}"),
    ]);
}

/// Whatever side counts, what contradicts itself is no answer.
#[test]
fn a_chain_that_contradicts_itself_is_neither_of_its_sides() {
    use super::verdict_with;
    use crate::math::{MathSettings, Mode};
    let status = |mode, gold: &str, said: &str| {
        let settings = MathSettings { mode, ..MathSettings::default() };
        verdict_with(settings, gold, &format!("\\boxed{{{said}}}")).status
    };
    for mode in [Mode::Strict, Mode::Lenient, Mode::MathVerify] {
        for said in [
            "x=5=6",
            "x=6=5",
            "5=6",
            "5=x=6",
            "x:=5=6",
            "x=2+3=6",
            r"x=\frac{10}{2}=6",
            "x=5=6=5",
            "A=B=5=6",
            "f(x)=5=6",
            r"x=5\equiv 6",
            r"x=\{5\}=\{6\}",
            r"x\approx 5=6",
            r"x=5\approx 6",
            r"x\approx 6\approx 5",
            "x=5, x=6",
            r"x=5\text{ and }x=6",
            r"x=5\neq 5",
            "x<5=6",
        ] {
            for gold in ["5", "6", "x=5", "x=6"] {
                assert_ne!(status(mode, gold, said), data::Status::Pass, "{mode:?}: {gold} | {said}");
            }
        }
        for (gold, said) in [
            ("5", "x=2+3=5"),
            ("5", r"x=\frac{10}{2}=5"),
            ("5", r"x=5\approx 5.0"),
            (r"\sqrt2", r"x=\sqrt2\approx 1.414"),
            (r"\sqrt2", r"x=\sqrt2\approx 1.4"),
            (r"\pi", r"x=\pi\approx 3"),
            (r"\frac13", r"x=\frac13\approx 0.33"),
            ("1234567", r"n=1234567\approx 1200000"),
            (r"\frac{1}{3}", r"\frac13\approx 0.333\approx 0.33"),
        ] {
            assert_eq!(status(mode, gold, said), data::Status::Pass, "{mode:?}: {gold} | {said}");
        }
    }
}
