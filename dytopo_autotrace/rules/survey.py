def survey(*a, **k): return ()
