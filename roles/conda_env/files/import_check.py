"""Import the modules named as arguments, in this order, and print their versions, or which one fails and how."""
import importlib
import sys
import traceback

for name in sys.argv[1:]:
    try:
        module = importlib.import_module(name)
    except BaseException:  # extension modules end in more ways than ImportError
        traceback.print_exc()
        print("FAILED " + name)
        sys.exit(1)
    print(name, getattr(module, "__version__", "(no version)"))
