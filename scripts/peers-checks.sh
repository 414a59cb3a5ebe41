#!/bin/sh
# benches/peers by its own instructions: every module can be imported, and onestep's output is that of its peers, which a run
# says by its exit status. Nothing is timed.
set -eu
cd "$(dirname "$0")/.."
python=$(benches/peers/install.sh)/bin/python
for module in benches/peers/*.py; do
    (cd benches/peers && "$python" -c "import $(basename "$module" .py)")
done
benches/peers/run.sh --networks cifar10 --parts agreement "$@"
