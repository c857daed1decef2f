# docker build -t tse-onnx . && docker run --rm -u "$(id -u)" -v "$PWD:/work" tse-onnx report model.onnx
FROM python:3.13-slim
COPY . /source
RUN pip install --no-cache-dir '/source[images,plot,tune]' && rm -r /source && mkdir -m 1777 /cache
# Whoever runs it has a place for what tune measures, and for matplotlib's fonts.
ENV XDG_CACHE_HOME=/cache MPLCONFIGDIR=/cache/matplotlib
WORKDIR /work
ENTRYPOINT ["tse-onnx"]
CMD ["--help"]
