FROM python:3.11 AS build
WORKDIR /src
COPY requirements.lock .
RUN python -m venv /opt/whipstitch && \
    /opt/whipstitch/bin/pip install --no-cache-dir --require-hashes -r requirements.lock
COPY . .
RUN /opt/whipstitch/bin/pip install --no-cache-dir --no-deps .

FROM python:3.11-slim
RUN useradd --uid 10001 --create-home whipstitch && install -d -o whipstitch /data
COPY --from=build /opt/whipstitch /opt/whipstitch
ENV PATH=/opt/whipstitch/bin:$PATH PYTHONUNBUFFERED=1 WHIPSTITCH_DATA=/data WHIPSTITCH_HOST=0.0.0.0
USER whipstitch
WORKDIR /home/whipstitch
VOLUME /data
EXPOSE 8080
ENTRYPOINT ["whipstitch"]
CMD ["--help"]
