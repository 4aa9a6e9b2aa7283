"""Run by estimators.py with the interpreter of an environment that has saspt (0.4.0 wants matplotlib below 3.9), which nta has not.

``PYTHON saspt_states.py TRACKS.npz STATES.npz``: each shot's x, y in pixels, frame and track -> occupation of each diffusion coefficient.
"""

import sys
import time

import numpy as np
import pandas as pd
from saspt import RBME, StateArray

# every fourth of the default errors, 0 to 70 nm: they are summed over afterwards, and an analysis takes 3 s instead of 17
LOC_ERRORS_UM = np.arange(0.0, 0.072, 0.008)
SPLIT_STEPS = 50  # by default it cuts tracks after 10 steps, which doubles its distance for exact sizes


def main() -> None:
    given, answered = sys.argv[1:]
    states = {}
    with np.load(given) as shots:
        for i in range(int(shots["n"])):
            begun = time.process_time()
            x, y, frame, track = shots[f"tracks_{i}"].T
            table = pd.DataFrame({"x": x, "y": y, "frame": frame.astype(int), "trajectory": track.astype(int)})
            scale = {"pixel_size_um": float(shots["pixel_um"]), "frame_interval": float(shots["interval_s"])}
            chosen = {"focal_depth": float(shots[f"depth_{i}"]), "loc_errors": LOC_ERRORS_UM, "splitsize": SPLIT_STEPS}
            array = StateArray.from_detections(table, RBME, **scale, **chosen)
            states[f"occupation_{i}"] = array.marginalize_on_diff_coef(array.posterior_occs)
            states[f"cpu_s_{i}"] = np.array(time.process_time() - begun)
            states["d_um2_s"] = array.diff_coefs
    np.savez(answered, **states)


if __name__ == "__main__":
    main()
