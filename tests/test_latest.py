from tests.latest import ROOT, newer


def test_what_differs_from_the_pins():
    pins = "torch==2.13.0\nPy_YAML==6.0.3\nonly-here==1\nsame==2 ; python_version < '4'\n"
    there = "torch==2.13.0+cpu\npy-yaml==6.0.4\nonly_there==3\nsame==2\n-e /x#egg=lora_course\n"
    assert newer(pins, there) == {"py-yaml": ("6.0.3", "6.0.4")}
    real = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    assert newer(real, real) == {} and len(newer(real, real.replace("==", "==9"))) > 50
