"""python -m dytopo_autotrace"""

from dytopo_autotrace.cli import main

if __name__ == "__main__":
    main()
