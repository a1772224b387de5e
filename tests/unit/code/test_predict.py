from __future__ import annotations

import pytest

import predict


@pytest.mark.parametrize("text", ["1_0", "0", "-1", "1.5", "many", ""])
def test_a_batch_size_is_a_number_of_rows(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        predict.main(["--model=m", "--data=d", "--output=o", f"--batch-size={text}"])
    assert end.value.code == 2
    assert f"argument --batch-size: {text!r} is not a number of rows; give 1 or more" in capsys.readouterr().err
