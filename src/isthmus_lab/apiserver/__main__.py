from isthmus_lab.apiserver.main import main

if __name__ == "__main__":
    main()
