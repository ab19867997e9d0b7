#!/usr/bin/env bash
# The study of docs/linear-adapter.md: run.sh DATA VISION LANGUAGE OUT, four paths that stay the same.
# VISION is the ViT's model.safetensors, LANGUAGE a directory of a causal language model.
# Each step goes on where it stopped: the adapter after its last epoch, the others within a minute.
set -euo pipefail
data=$1 vision=$2 language=$3 out=$4
food=food101:$data/food10_upmc_layout
memes=hateful_memes:$data/memotion_hm_layout
plots=mmimdb:$data/mmimdb_mini

fusionscope train --family linear-adapter --data "$food" --language-model "$language" \
    --vision-encoder "vit_small_patch14_dinov2:$vision" --image-size 112 --max-text-length 32 \
    --limit 1600 --epochs 4 --batch-size 8 --learning-rate 2e-3 --dev-limit 375 \
    --cache-dir "$out/patches" --out "$out/adapter"
[ -f "$out/texts/captions.csv" ] ||
    python "$(dirname "$0")/texts.py" "$out/texts" "$food" "$memes" "$plots"
fusionscope train-sae --model "$out/adapter/seed-0" --data "folder:$out/texts" --text-alone \
    --layers 5,10,15,20,25,29 --features 2048 --k 32 --tokens 512 --steps 1500 --limit 8000 \
    --out "$out/saes"
[ -d "$out/store/runs/adapter" ] || fusionscope capture --model "$out/adapter/seed-0" \
    --data "$food" --store "$out/store" --run-id adapter --pooling mean --limit 256
fusionscope read-saes --store "$out/store" --run adapter --data "$food" --saes "$out/saes" \
    --models "$out/adapter/seed-0" --samples 128 --loss-samples 32
fusionscope findings --store "$out/store"
